# SPDX-License-Identifier: Apache-2.0
"""A robot of one's own: a pendulum and its rewards."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PENDULUM = """
<mujoco model="pendulum">
  <option timestep="0.01"/>
  <worldbody>
    <body pos="0 0 1">
      <joint name="shoulder" type="hinge" axis="0 1 0" damping="0.05"/>
      <geom type="capsule" fromto="0 0 0 0 0 -0.5" size="0.03" mass="1"/>
    </body>
  </worldbody>
  <actuator>
    <motor name="shoulder_motor" joint="shoulder" gear="6" ctrlrange="-2 2"/>
  </actuator>
</mujoco>
"""
REWARDS = """
import numpy as np


def upright(model, data, action):
    return (1 - np.cos(data.qpos[0])) / 2 - 0.01 * float(action @ action)


def endless(model, data, action):
    return float("inf")


def twofold(model, data, action):
    return np.zeros(2)


def nothing(model, data, action):
    pass


number = 3
"""
ENDINGS = """

def reset(model, data, rng):
    data.qpos[:] = rng.uniform(1, 2)


def terminated(model, data):
    return data.time > 0.195
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The user's directory, which the test works in: a robot, rewards, no tasks yet."""
    robots = tmp_path / "robots"
    robots.mkdir()
    (robots / "pendulum.xml").write_text(PENDULUM)
    (tmp_path / "my_rewards.py").write_text(REWARDS)
    (tmp_path / "my_endings.py").write_text(REWARDS + ENDINGS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PWM_TASKS", raising=False)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield tmp_path
    for module in ("my_rewards", "my_endings"):
        sys.modules.pop(module, None)
