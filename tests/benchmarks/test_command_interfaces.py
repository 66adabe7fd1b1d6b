# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.command_interfaces import offline_episode
from pwm_core.tasks import get_task, task_files
from pwm_export.bundle import Bundle


def test_an_episode_without_ros_ends_where_its_task_does(
    arm_task: Any, linear_policy: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PWM_TASKS", str(tmp_path / "tasks"))
    rules = "def alive(*_): return 1.0\ndef terminated(_, data): return data.time > 0.19\n"
    (tmp_path / "arm_ending.py").write_text(rules)
    plain = {"history": 0, "previous_action": False, "episode_steps": 50}
    task_files.save(replace(arm_task, name="arm-alive", reward="arm_ending:alive", **plain))
    gain = np.zeros(get_task("arm-alive").observation.size)
    bundle = Bundle.load(linear_policy(tmp_path / "calm.onnx", gain, "arm-alive"))
    assert offline_episode(bundle, 0).total == 10, "decisions of 0.02 s"
