# SPDX-License-Identifier: Apache-2.0
"""Policies that are judged on the way are those of as many updates."""

from __future__ import annotations

from pathlib import Path

from pwm_core.extraction.config import ExtractionConfig
from pwm_core.studies.extracting import begin, judge
from pwm_core.studies.horizon_batch import HorizonBatch, returned
from pwm_core.studies.study import Inputs

TASK = "cartpole-swingup"


def test_a_quarter_of_the_updates_is_judged_after_a_quarter(
    tmp_path: Path, tiny_data: Path, tiny_world_model: Path
) -> None:
    inputs = Inputs(tiny_data, tiny_world_model)
    study = HorizonBatch(TASK, iterations=4, episodes=1)
    figures = study.measure({"horizon": 2, "batch": 8}, 1, inputs, tmp_path / "study")
    config = ExtractionConfig(iterations=4, batch=8, horizon=2, seed=1, evaluate="model")
    extraction = begin(TASK, config, inputs, tmp_path / "alone")
    expected = {}
    for done in range(1, 5):
        extraction.iteration = done - 1
        extraction.iterate()
        if done != 3:
            expected[done] = judge(TASK, extraction.policy(), 1)["return"]
    assert expected[1] != expected[2] != expected[4]
    assert {part: figures[returned(part)] for part in (4, 1)} == {4: expected[1], 1: expected[4]}
