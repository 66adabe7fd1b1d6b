# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from pwm_core.data.dataset import Dataset
from pwm_core.model.config import WorldModelConfig
from pwm_core.model.store import TrainedWorldModel
from pwm_core.studies.generalisation import (
    EMBEDDING,
    NEW,
    NOTHING,
    TOPIC,
    WHOLE,
    Generalisation,
    Newcomer,
)
from pwm_core.studies.runner import Outcome, run_study
from pwm_core.studies.study import Inputs
from pwm_core.studies.table import table_rows
from pwm_core.studies.world_data import WORLD_MODEL
from pwm_core.tasks.shift import Shift

SMALL = Generalisation(
    newcomers=(
        Newcomer("pendulum-swingup"),
        Newcomer("cartpole-swingup", like="cartpole-swingup", shift=Shift(actuator_gain=0.1)),
    ),
    ways=((NOTHING, 0), (EMBEDDING, 6), (WHOLE, 6), (NEW, 6)),
    updates=2,
    new_updates=2,
    model=WorldModelConfig(latent=16, encoder_width=16, width=16),
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
    assert len(alone["task_embedding"]) == 3
    assert torch.equal(alone["task_embedding"][:2], before["task_embedding"])


@pytest.mark.usefixtures("outcome")
def test_the_first_episodes_are_of_every_behaviour(folder: Path) -> None:
    work = folder / "work"
    planned = Dataset(work / "data,pendulum-swingup,seed=0").episodes
    assert [e.behaviour for e in planned] == ["correlated", "mpc-0.4", "mpc-0"] * 2
    shifted = Dataset(work / "data,cartpole-swingup actuator_gain=0.1,seed=0").episodes
    behaviours = [e.behaviour for e in shifted[:3]]
    assert [b.rsplit("-", 1)[-1] for b in behaviours] == ["correlated", "0.4", "0"]
    assert planned.tasks != shifted.tasks == ["cartpole-swingup actuator_gain=0.1"]
