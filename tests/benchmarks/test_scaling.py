# SPDX-License-Identifier: Apache-2.0
"""The curves are measured and drawn, and the plan is what its formulas say; no time is judged."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest

from benchmarks.measure import Row
from benchmarks.published_plan import DATA, UPDATES, data_rows, training_rows
from benchmarks.scaling import QUICK, bytes_on_disk, iterations, updates
from benchmarks.scaling_plot import draw
from benchmarks.synthetic import synthetic_dataset
from pwm_core.tasks.published_tasks import PUBLISHED_TASKS


def test_the_curves_are_measured_and_drawn(tmp_path: Path) -> None:
    data = synthetic_dataset(tmp_path / "data", QUICK.episodes)
    trained = updates(data, tmp_path, QUICK)
    assert [row["GFLOP"] > 0 and row["ms"] > 0 for row in trained] == [True]
    extracted = iterations(data, tmp_path, QUICK)
    assert [(row["curve"], row["tasks"], row["batch"]) for row in extracted] == [
        ("tasks", 2, 64),
        ("batch", 1, 16),
    ]
    tables = {
        "Collection": [{"pool": "processes", "workers": 1, "transitions/s": 10.0}],
        "Pre-training": trained,
        "Ranks": [{"size": "tiny", "processes": n, "updates/s": 5.0 * n} for n in (1, 2)],
        "Extraction": extracted,
    }
    draw(tables, tmp_path / "curves.svg")
    text = ElementTree.parse(tmp_path / "curves.svg").getroot()
    assert text.tag == "{http://www.w3.org/2000/svg}svg"


def test_rows_on_disk_are_as_wide_as_the_widest_task(tmp_path: Path) -> None:
    """Four bytes for each observation, each action and the reward; one row more than decisions."""
    rows = bytes_on_disk(tmp_path)
    assert [(row["observations"], row["actions"]) for row in rows] == [
        (5, 1),
        (17, 6),
        (24, 6),
        (39, 4),
        (39, 6),
    ]
    for row in rows:
        width = 4 * (row["observations"] + row["actions"] + 1)
        assert width < row["bytes per transition"] <= 1.01 * width


@pytest.mark.parametrize("data", DATA, ids=lambda data: data.name)
def test_the_planned_data_is_that_of_the_published_suites(data) -> None:
    assert data.tasks == len(PUBLISHED_TASKS[data.name])
    assert data.episodes * (data.decisions + 1) == pytest.approx(data.rows, rel=1e-6)


def test_the_plan_follows_from_the_largest_model() -> None:
    """A model of 2 GFLOP per 1024 transitions takes 32 for the published 16,384."""
    small: Row = {"size": "s", "parameters": 10, "transitions": 1024, "GFLOP": 1.0, "GFLOP/s": 8.0}
    large: Row = {"size": "l", "parameters": 20, "transitions": 1024, "GFLOP": 2.0, "GFLOP/s": 4.0}
    here, *others = training_rows([small, large, large | {"transitions": 4096, "GFLOP": 8.0}])
    assert here["model"] == "l"
    assert here["TFLOP per update"] == pytest.approx(0.032)
    assert here["updates/s"] == pytest.approx(4 / 32)
    assert here["hours"] == pytest.approx(UPDATES * 8 / 3600)
    assert others[0]["hours"] == pytest.approx(14 * 24)
    mt30 = data_rows()[0]
    assert mt30["arrays, GB"] == pytest.approx(345.69 * 31 * 4 / 1e3)
