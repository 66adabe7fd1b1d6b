# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pwm_core.data.behaviours import BehaviourError
from pwm_core.data.dataset import Dataset
from pwm_core.evaluation.episodes import deterministic
from pwm_core.extraction.store import TrainedPolicy
from pwm_core.model.config import WorldModelConfig
from pwm_core.studies.online_world_model import ONLINE, SAC, OnlineWorldModel
from pwm_core.studies.study import Inputs, Result

pytest.importorskip("envpool")

SMALL = OnlineWorldModel(
    tasks=("myo-finger-pose-fixed",),
    rounds=2,
    each=2,
    model=WorldModelConfig(latent=16, encoder_width=16, width=16),
    updates=3,
    seeds=(0,),
    iterations=2,
    episodes=2,
)
NO_INPUTS = Inputs(Path("none"), Path("none"))


def _measured(method: str, folder: Path, study: OnlineWorldModel = SMALL) -> Result:
    setting = {"task": "myo-finger-pose-fixed", "method": method}
    figures = study.measure(setting, 0, NO_INPUTS, folder)
    return Result(setting, 0, figures, 1.0, "", "", "")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cell")


@pytest.fixture(scope="module")
def learned(folder: Path) -> Result:
    return _measured(ONLINE, folder)


def test_both_are_judged_after_as_many_decisions(learned: Result, tmp_path: Path) -> None:
    pytest.importorskip("stable_baselines3")
    sac = _measured(SAC, tmp_path)
    for result in (learned, sac):
        assert result.figures["decisions"] == [200, 400]
        assert np.shape(result.figures["curve"]) == (2, 2)
        assert result.figures["return"] == result.figures["curve"][1]
        assert result.figures["at_half"] == result.figures["curve"][0]
    (figure,) = SMALL.draw([learned, sac]).values()
    (axes,) = figure.axes
    assert axes.get_legend_handles_labels()[1] == [ONLINE, SAC]
    figure.savefig(tmp_path / "plot.png", dpi=30)


def test_the_second_round_is_played_by_the_policy_of_the_first(
    learned: Result, folder: Path
) -> None:
    data = Dataset(folder / "data")
    assert [episode.seed for episode in data.episodes] == [0, 1, 2, 3]
    act = deterministic(TrainedPolicy.load(folder / "round0/policy/policy.safetensors").policy)
    away = []
    for episode in data.episodes:
        decided = act(np.array(data.observation[episode.rows][:-1]))
        away.append(np.std(data.action[episode.rows][1:] - decided))
    assert max(away[2:]) < SMALL.noise * 1.5 < min(away[:2])


def test_a_cell_that_was_interrupted_goes_on(learned: Result, folder: Path) -> None:
    (folder / "round1" / "policy" / "policy.safetensors").unlink()
    assert _measured(ONLINE, folder).figures == learned.figures
    assert len(Dataset(folder / "data").episodes) == 4


def test_without_the_library_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pwm_core.data.behaviours.sac.find_spec", lambda name: None)
    with pytest.raises(BehaviourError, match=r"pip install '\.\[sac\]'"):
        _measured(SAC, tmp_path)
