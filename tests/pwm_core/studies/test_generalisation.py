# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from pwm_core.data.behaviours import Correlated
from pwm_core.data.dataset import Dataset
from pwm_core.data.split import split
from pwm_core.errors import PwmError
from pwm_core.model.store import TrainedWorldModel
from pwm_core.studies.generalisation import (
    EMBEDDING,
    NEW,
    NOTHING,
    SEED,
    TOPIC,
    WHOLE,
    Generalisation,
    Newcomer,
)
from pwm_core.studies.runner import Outcome, run_study
from pwm_core.studies.study import Inputs
from pwm_core.studies.table import table_rows
from pwm_core.studies.world_data import WORLD_MODEL
from pwm_core.tasks import get_task
from pwm_core.tasks.shift import Shift

SMALL = Generalisation(
    newcomers=(
        Newcomer("pendulum-swingup"),
        Newcomer("cartpole-swingup", like="cartpole-swingup", shift=Shift(actuator_gain=0.1)),
    ),
    ways=((NOTHING, 0), (EMBEDDING, 6), (WHOLE, 6), (NEW, 6)),
    updates=2,
    new_updates=2,
    seeds=(0,),
    iterations=1,
    episodes=1,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("study")


@pytest.fixture(scope="module")
def outcome(folder: Path, tiny_data: Path, tiny_world_model: Path) -> Outcome:
    topic = replace(TOPIC, presets={"quick": SMALL})
    found = run_study(topic, "quick", Inputs(tiny_data, tiny_world_model), folder, workers=1)
    assert not found.failures
    return found


def test_every_way_ends_in_the_table_and_the_plot(outcome: Outcome, tmp_path: Path) -> None:
    rows = table_rows(outcome.results, TOPIC.columns)
    assert len(rows) == 7
    for row in rows:
        known = row["learned"] == NOTHING
        assert (row["imagined return"] == "–") == known
        assert row["return"] != "–"
    (figure,) = SMALL.draw(outcome.results).values()
    assert [len(axes.patches) for axes in figure.axes] == [3, 4]
    figure.savefig(tmp_path / "plot.png", dpi=30)


@pytest.mark.usefixtures("outcome")
def test_an_embedding_alone_leaves_the_rest_of_the_model(
    folder: Path, tiny_world_model: Path
) -> None:
    def weights(path: Path) -> dict[str, torch.Tensor]:
        return TrainedWorldModel.load(path, torch.device("cpu")).model.state_dict()

    before = weights(tiny_world_model)
    cell = "newcomer=pendulum-swingup,learned={},episodes=6,seed=0"
    alone, whole = (
        weights(folder / "work" / cell.format(name) / "world_model" / WORLD_MODEL)
        for name in (EMBEDDING, "whole_model")
    )
    for name in ("encoder.0.weight", "dynamics.0.weight"):
        assert torch.equal(alone[name], before[name])
        assert not torch.equal(whole[name], before[name])
    new = weights(folder / "work" / cell.format("new_model") / "world_model" / WORLD_MODEL)
    assert new["dynamics.0.bias"].shape == before["dynamics.0.bias"].shape
    assert len(alone["task_embedding"]) == 3
    assert torch.equal(alone["task_embedding"][:2], before["task_embedding"])


@pytest.mark.usefixtures("outcome")
def test_behaviours_take_turns_and_one_episode_of_six_is_held_out(folder: Path) -> None:
    work = folder / "work"
    data = Dataset(work / "data,pendulum-swingup,seed=0")
    noise = Correlated().collect(get_task("pendulum-swingup"), 2, SEED)
    for number, episode in enumerate(data.episodes):
        alike = [np.allclose(data.trajectory(episode).action, each.action) for each in noise]
        assert alike == [number == 0, number == 3]
    training, held_out = split(data.episodes, 0.1)
    assert [len(training), len(held_out)] == [5, 1]
    shifted = Dataset(work / "data,cartpole-swingup actuator_gain=0.1,seed=0").episodes
    assert len(shifted) == 6
    assert data.episodes.tasks != shifted.tasks == ["cartpole-swingup actuator_gain=0.1"]


def test_a_task_that_the_world_model_knows_is_no_newcomer(
    tiny_data: Path, tiny_world_model: Path, tmp_path: Path
) -> None:
    study = replace(SMALL, newcomers=(Newcomer("cartpole-balance", like="cartpole-swingup"),))
    with pytest.raises(PwmError, match="cartpole-balance is no newcomer to it"):
        study.measure(study.settings()[0], 0, Inputs(tiny_data, tiny_world_model), tmp_path)
