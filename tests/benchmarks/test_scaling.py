# SPDX-License-Identifier: Apache-2.0
"""The curves are measured and drawn, and the plan is what its formulas say; no time is judged."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest
from torch import nn

from benchmarks.published_plan import (
    DATA,
    HORIZON,
    UPDATES,
    WINDOWS,
    data_rows,
    training_rows,
    update_work,
)
from benchmarks.scaling import QUICK, bytes_on_disk, iterations, updates
from benchmarks.scaling_plot import draw
from benchmarks.synthetic import synthetic_dataset
from pwm_core.model.world_model import SIZES, WorldModel
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


def test_the_plan_counts_the_work_of_a_real_update() -> None:
    """Three times forward for what learns, once for the targets: 6 and 2 FLOP per weight and row.

    The first layers' inputs need no gradient, hence a little less.
    """
    model = WorldModel(SIZES["5M"], 30, 24, 6)

    def weights(network: nn.Module) -> int:
        return sum(p.numel() for p in network.parameters() if p.ndim == 2)

    unrolled = 6 * (weights(model.dynamics) + weights(model.reward_head))
    encoded = weights(model.encoder) * (2 + 6 / HORIZON)
    rows = WINDOWS * HORIZON
    assert update_work(DATA[0], "5M") == pytest.approx(rows * (unrolled + encoded), rel=0.01)


def test_the_plan_is_in_proportion() -> None:
    for row in training_rows():
        seconds = UPDATES * row["TFLOP per update"] / row["TFLOP/s"]
        assert row["GPU hours"] == pytest.approx(seconds / 3600)
    mt30 = data_rows()[0]
    assert mt30["arrays, GB"] == pytest.approx(345.69 * 31 * 4 / 1e3)
