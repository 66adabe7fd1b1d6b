# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from typing import Any

import pytest

from pwm_bringup.finetune_results import curve, markdown, row


def episode(stage: str, earned: float, noise: float = 0.0) -> dict[str, Any]:
    return {"what": "episode", "stage": stage, "policy": "p", "return": earned, "noise": noise}


def verdict(what: str) -> dict[str, Any]:
    return {"what": "verdict", "verdict": what, "round": 1, "reason": ""}


@pytest.fixture
def record() -> dict[str, Any]:
    """Two candidates: one stays, one is taken back after the gate had let it pass."""
    events = [
        episode("nominal", 800.0),
        {"what": "shift", "shift": "actuator_gain=0.4"},
        episode("shifted", 500.0),
        episode("adapting", 510.0),
        episode("adapting", 400.0, 0.1),
        verdict("passed the gate"),
        episode("adapting", 700.0),
        verdict("stays"),
        verdict("passed the gate"),
        episode("adapting", 300.0),
        verdict("rolled back"),
        episode("adapted", 650.0),
    ]
    return {
        "task": "cartpole-swingup",
        "shift": "actuator_gain=0.4",
        "seed": 2,
        "nominal": [800.0, 800.0],
        "shifted": [490.0, 510.0],
        "adapted": [640.0, 660.0],
        "recovered": 0.5,
        "episodes": 4,
        "minutes": 5.25,
        "learner_minutes": 3.5,
        "ticks": {"learning": {"ticks": 0, "missed": 0}, "acting": {"ticks": 0, "missed": 0}},
        "verdicts": [event for event in events if event["what"] == "verdict"],
        "events": events,
    }


def test_a_row_says_what_was_lost_and_what_came_back(record: dict[str, Any]) -> None:
    found = row(record)
    assert found["as trained"] == "800.0 (2)"
    assert found["after the shift"] == "500.0 (2)"
    assert found["after adaptation"] == "650.0 (2)"
    assert found["of the loss"] == "50 %"
    assert found["stayed / taken back / refused"] == "1 / 1 / 0"
    assert found["missed ticks"] == "–"


def test_where_nothing_was_lost_nothing_can_come_back(record: dict[str, Any]) -> None:
    assert row(record | {"recovered": None})["of the loss"] == "no loss"


def test_missed_ticks_are_those_with_a_learner_beside(record: dict[str, Any]) -> None:
    ticks = {"learning": {"ticks": 900, "missed": 3}, "acting": {"ticks": 50, "missed": 9}}
    assert row(record | {"ticks": ticks})["missed ticks"] == "3 of 900"


def test_the_table_has_a_row_for_each_trial(record: dict[str, Any]) -> None:
    lines = markdown([record, record | {"seed": 7}]).splitlines()
    assert len(lines) == 4
    assert len({line.count("|") for line in lines}) == 1
    assert "| 7 |" in lines[3]


def test_the_curve_has_every_episode_and_every_mark(record: dict[str, Any]) -> None:
    (axes,) = curve(record).axes
    points = [line for line in axes.lines if line.get_linestyle() == "None"]
    assert sum(len(line.get_xdata()) for line in points) == 7
    marks = [line for line in axes.lines if line.get_linestyle() != "None"]
    assert [line.get_xdata()[0] for line in marks] == [1.5, 4.5, 5.5, 5.5, 6.5]
    named = {line.get_label() for line in axes.lines if not line.get_label().startswith("_")}
    assert {"shift", "candidate acts", "stays", "rolled back"} <= named
