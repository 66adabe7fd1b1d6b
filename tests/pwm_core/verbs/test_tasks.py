# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json

import pytest

from pwm_core.cli import main
from pwm_core.tasks import all_tasks, suites


def test_suites_with_their_sizes(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tasks", "--json"]) == 0
    rows = {row["suite"]: row for row in json.loads(capsys.readouterr().out)}
    assert set(rows) == {suite for suite in suites() if all_tasks(suite)}
    assert rows["mt80"]["tasks"] == 80
    assert rows["gymnasium"] == {
        "suite": "gymnasium",
        "tasks": 11,
        "bodies": 11,
        "observations": "4–348",
        "actions": "1–17",
        "episodes": "terminal, time",
    }


@pytest.mark.parametrize("suite", ["gymnasium", "playground", "myosuite", "mt80"])
def test_every_name_of_a_suite_can_be_read_and_copied(
    suite: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["tasks", "--suite", suite]) == 0
    words = capsys.readouterr().out.split()
    assert {task.name for task in all_tasks(suite)} <= set(words)


def test_tasks_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tasks", "--name", "hopper", "--json"]) == 0
    rows = {row["task"]: row for row in json.loads(capsys.readouterr().out)}
    assert {"gym-hopper", "hopper-hop", "hopper-stand"} <= set(rows)
    assert all("hopper" in name for name in rows)
    hopper = rows["gym-hopper"]
    assert (hopper["episodic"], hopper["decisions"], hopper["rate (Hz)"]) == (True, 1000, 125)
    assert len(hopper["observations"]) == 11


def test_nothing_to_list(
    tmp_path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PWM_TASKS", str(tmp_path))
    assert main(["tasks", "--name", "zzz"]) == 2
    assert "no task's name contains 'zzz'" in capsys.readouterr().err
    assert main(["tasks", "--suite", "own"]) == 2
    assert "suite own is empty: pwm tasks add --mjcf FILE" in capsys.readouterr().err
    assert main(["tasks", "--suite", "gymnasiums"]) == 2
    assert "the suites are dm_control, gymnasium" in capsys.readouterr().err
