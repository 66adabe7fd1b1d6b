# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from pwm_core.extraction.config import ExtractionConfig
from pwm_core.finetuning.adaptation import Adaptation, AdaptationConfig, Round
from pwm_core.finetuning.config import FinetuningConfig
from pwm_core.studies.finetune import ARMS, TOPIC, Finetune, _recorded_before
from pwm_core.studies.study import Inputs, Result
from pwm_core.tasks.shift import Shift

SMALL = Finetune(
    ("cartpole-swingup",),
    (Shift(actuator_gain=0.1), Shift(mass_scale=1.5)),
    seeds=(0,),
    episodes=2,
    extraction=ExtractionConfig(
        iterations=2, batch=16, horizon=4, actor_hidden=(16,), critic_hidden=(16,)
    ),
    adaptation=AdaptationConfig(
        rounds=1,
        watched=2,
        exploring=1,
        finetuning=FinetuningConfig(
            updates=2, transitions=64, horizon=8, iterations=1, critic_iterations=1
        ),
    ),
    updates=2,
)


@pytest.fixture(scope="module")
def measured(
    tiny_data: Path, tiny_world_model: Path, tmp_path_factory: pytest.TempPathFactory
) -> Result:
    setting, folder = SMALL.settings()[0], tmp_path_factory.mktemp("cell")
    figures = SMALL.measure(setting, 0, Inputs(tiny_data, tiny_world_model), folder)
    assert json.dumps(figures)
    return Result(setting, 0, figures, 1.0, "", "", "")


def test_every_way_is_judged_in_the_same_episodes(measured: Result) -> None:
    figures = measured.figures
    for arm in ARMS:
        assert len(figures[arm]) == 2, arm
    lost = np.mean(figures["nominal"]) - np.mean(figures["shifted"])
    assert figures["lost"] == pytest.approx(lost)
    assert abs(lost) > 1e-3
    assert figures["kept"] + figures["refused"] + figures["rolled_back"] == 1
    assert figures["recorded"] in (4, 6)  # a candidate that the gate refused is not watched
    if not figures["kept"]:
        assert figures["adapted"] == figures["shifted"]


def test_the_policy_alone_is_tuned_with_what_had_been_recorded_before_each_candidate() -> None:
    config = AdaptationConfig(rounds=3, watched=3, exploring=2, noise=(0.1, 0.2))
    refused, watched = (Round(None, episodes, False, ()) for episodes in (7, 14))  # type: ignore[arg-type]
    adapted = Adaptation(None, [refused, watched, watched])  # type: ignore[arg-type]
    assert _recorded_before(adapted, config) == [7, 11, 18]


def test_table_and_plot_can_be_made(measured: Result) -> None:
    assert {column.figure for column in TOPIC.columns} <= set(measured.figures)
    (plot,) = SMALL.draw([measured]).values()
    (panel,) = plot.axes
    assert len(panel.patches) == len(ARMS)


def test_every_shift_meets_every_task() -> None:
    settings = TOPIC.presets["full"].settings()
    assert len({tuple(setting.items()) for setting in settings}) == len(settings) == 8
