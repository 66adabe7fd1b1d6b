# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from pwm_core.cli import main
from pwm_core.data.dataset import Dataset

CART = """
<mujoco>
  <worldbody>
    <body>
      <joint name="rail" type="slide" axis="1 0 0" damping="1"/>
      <geom size="0.1"/>
      <site name="here"/>
    </body>
  </worldbody>
  <actuator><motor name="push" joint="rail" ctrlrange="-3 3"/></actuator>
  <sensor><accelerometer name="imu" site="here"/></sensor>
</mujoco>
"""
REWARDS = """
def centred(model, data, action):
    return 1 - abs(data.qpos[0])


def lost(model, data, action):
    return float("nan")
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "cart.xml").write_text(CART)
    (tmp_path / "cart_rewards.py").write_text(REWARDS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PWM_TASKS", raising=False)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "cart_rewards", raising=False)
    return tmp_path


def add(*options: str) -> int:
    return main(["tasks", "add", "--mjcf", "cart.xml", *options])


def test_add_list_collect(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert add("--reward", "cart_rewards:centred", "--episode-steps", "20", "--json") == 0
    rows = json.loads(capsys.readouterr().out)
    assert [(row["entry"], row["kind"], row["unit"]) for row in rows] == [
        ("rail/position", "observation", "m"),
        ("rail/velocity", "observation", "m/s"),
        ("push", "action", "1"),
    ]
    assert rows[-1]["meaning"] == "effort of rail, -3 to 3"
    assert main(["tasks", "--suite", "own", "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["task"], row["decisions"]) == ("cart-centred", 20)
    amounts = ["--uniform", "2", "--correlated", "0", "--mpc", "0", "--workers", "1"]
    assert main(["collect", "--tasks", "cart-centred", "--out", "data", *amounts]) == 0
    data = Dataset(project / "data")
    assert [(e.task, e.length) for e in data.episodes] == [("cart-centred", 20)] * 2


def test_options_reach_the_task(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--observation", "imu", "rail-is-no-sensor"]
    assert add("--reward", "cart_rewards:centred", *options) == 2
    assert "cart.xml: the model has no sensor 'rail-is-no-sensor'" in capsys.readouterr().err
    options = ["--observation", "imu", "--name", "cart", "--control-step", "0.05"]
    assert add("--reward", "cart_rewards:centred", *options) == 0
    assert "tasks/cart.json" in capsys.readouterr().out
    assert main(["tasks", "--suite", "own", "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["rate (Hz)"], len(row["observations"])) == (20, 3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--reward", "cart_rewards:lost"], "cart_rewards:lost returned nan at 0.020 s"),
        (["--reward", "cart_rewards:no"], "cart_rewards.py has no function 'no'"),
        (["--reward", "cart_rewards"], "is not of the form module:function"),
        (
            ["--reward", "cart_rewards:centred", "--name", "gym-hopper"],
            "task name 'gym-hopper' is taken by suite gymnasium",
        ),
        (["--reward", "cart_rewards:centred", "--name", "My Cart"], "lower case letters"),
        (["--reward", "cart_rewards:centred", "--control-step", "0.003"], "is no multiple"),
    ],
)
def test_mistakes_are_one_line_and_nothing_is_added(
    project: Path, options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert add(*options) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("pwm tasks add: ")
    assert message in line
    assert not (project / "tasks").exists()


def test_a_task_that_was_broken_can_be_added_again(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert add("--reward", "cart_rewards:centred", "--name", "cart") == 0
    (project / "tasks" / "cart.json").write_text("{")
    assert main(["tasks", "--suite", "own"]) == 2
    assert "tasks/cart.json is no task file" in capsys.readouterr().err
    assert add("--reward", "cart_rewards:centred", "--name", "cart") == 0
    assert main(["tasks", "--suite", "own"]) == 0
