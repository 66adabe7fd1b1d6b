# SPDX-License-Identifier: Apache-2.0
"""Every study at the smallest scale: all its cells, table and plots."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pwm_core.checkpoint import load_checkpoint, save_checkpoint
from pwm_core.data.behaviours import Correlated, Uniform
from pwm_core.data.dataset import Dataset
from pwm_core.data.split import split
from pwm_core.errors import PwmError
from pwm_core.evaluation.controllers import Planners
from pwm_core.evaluation.controllers.cem import CemConfig
from pwm_core.evaluation.controllers.gradient import GradientConfig
from pwm_core.evaluation.controllers.mppi import MppiConfig
from pwm_core.evaluation.controllers.policy_mppi import PolicyMppiConfig
from pwm_core.model.config import WorldModelConfig
from pwm_core.studies.first_order_vs_zeroth import FirstOrderVsZeroth
from pwm_core.studies.multi_task_vs_per_task import MultiTaskVsPerTask
from pwm_core.studies.offline_coverage import QUALITIES, OfflineCoverage
from pwm_core.studies.runner import run_study
from pwm_core.studies.study import Inputs
from pwm_core.studies.table import table_rows
from pwm_core.studies.topics import TOPICS, topic

FEW_PLANS = Planners(
    MppiConfig(samples=8, iterations=1, elites=4, policy_plans=2),
    CemConfig(samples=8, generations=1, elites=4),
    GradientConfig(starts=2, updates=1),
    PolicyMppiConfig(samples=8, iterations=1, elites=4, policy_plans=2),
)
SMALLEST: dict[str, dict[str, Any]] = {
    "action-dimensions": {
        "actions": (2, 3),
        "iterations": 3,
        "batch": 8,
        "horizon": 3,
        "critic_hidden": (8,),
        "transitions": 50,
        "probe_after": 1,
        "probe_batches": 2,
        "reference_batches": 2,
        "evaluation_starts": 4,
        "evaluation_steps": 5,
    },
    "first-order-vs-zeroth": {
        "extractors": ("first-order", "score function", "PPO"),
        "iterations": 2,
        "batch": 4,
        "episodes": 1,
        "horizons": (1, 2),
        "planners": FEW_PLANS,
        "probe_after": 1,
        "probe_batches": 3,
    },
    "ground-truth-dynamics": {
        "analytic": ("ball-against-wall",),
        "mujoco": ("cheetah-run",),
        "iterations": 2,
        "batch": 4,
        "horizon": 3,
        "model": WorldModelConfig(latent=16, encoder_width=16, width=16),
        "updates": 2,
        "episodes": 12,
        "steps": 20,
        "wandering": 4,
        "planned": 0,
        "judged": 2,
        "probe_batches": 2,
        "landscape_points": 5,
        "landscape_steps": 2,
    },
    "regularisation": {
        "choices": (("relu", 8, 1.0), ("simnorm", 4, 0.5)),
        "model": WorldModelConfig(latent=16, encoder_width=16, width=16),
        "updates": 2,
        "iterations": 1,
        "episodes": 1,
        "probe_batches": 2,
    },
    "offline-coverage": {
        "qualities": ("random",),
        "amounts": (4,),
        "model": WorldModelConfig(latent=16, encoder_width=16, width=16),
        "updates": 2,
        "iterations": 1,
        "episodes": 1,
    },
    "horizon-batch": {"pairs": ((1, 8), (16, 8)), "iterations": 1, "episodes": 1},
    "multi-task-vs-per-task": {
        "model": WorldModelConfig(latent=16, encoder_width=16, width=16),
        "updates": 2,
        "iterations": 1,
        "batch": 8,
        "episodes": 1,
    },
}
"""Overrides of the quick presets."""


def test_every_study_is_tried_here_or_in_a_file_of_its_own() -> None:
    folder = Path(__file__).parent
    for name in TOPICS.keys() - SMALLEST.keys():
        assert (folder / f"test_{name.replace('-', '_')}.py").is_file(), name


@pytest.fixture
def _one_planner(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pwm_core.studies.first_order_vs_zeroth.PLANNERS", ("policy+mppi",))


@pytest.mark.usefixtures("_one_planner")
@pytest.mark.parametrize("name", list(SMALLEST))
def test_the_smallest_scale_runs_from_cells_to_plots(
    name: str, tmp_path: Path, tiny_data: Path, tiny_world_model: Path
) -> None:
    chosen = topic(name)
    study = replace(chosen.presets["quick"], seeds=(0,), **SMALLEST[name])  # type: ignore[type-var]
    smallest = replace(chosen, presets={"quick": study})
    inputs = Inputs(tiny_data, tiny_world_model)
    outcome = run_study(smallest, "quick", inputs, tmp_path, workers=1)
    assert not outcome.failures
    assert len(outcome.results) == len(study.settings())
    rows = table_rows(outcome.results, chosen.columns)
    for column in chosen.columns:
        assert any(row[column.title] != "–" for row in rows), column
    for plot in study.draw(outcome.results).values():
        plot.savefig(tmp_path / "plot.png", dpi=30)
        assert (tmp_path / "plot.png").stat().st_size > 0


def test_cells_of_a_seed_share_what_they_collect_and_an_interrupted_one_goes_on(
    tmp_path: Path,
) -> None:
    study = OfflineCoverage()
    behaviours = QUALITIES["random"]
    for cell, share in (("few", 2), ("many", 4), ("many", 4)):
        study._gather(behaviours, share, 7, tmp_path / cell / "data")
    few, many = (Dataset(tmp_path / cell / "data") for cell in ("few", "many"))
    assert [episode.checksum for episode in few.episodes] == [
        episode.checksum for episode in many.episodes[:2]
    ]
    assert len(many.episodes) == 4
    assert [episode.seed for episode in many.episodes] == [0, 1, 2, 3]
    assert len(Dataset(tmp_path / "collected,correlated,seed=7").episodes) == 4


@pytest.mark.parametrize("number", [1, 2])
def test_as_many_episodes_are_held_out_whatever_behaviours_they_are_of(
    tmp_path: Path, number: int
) -> None:
    behaviours = (Correlated(), Uniform())[:number]
    OfflineCoverage()._gather(behaviours, 4 // number, 7, tmp_path / "cell/data")
    gathered = Dataset(tmp_path / "cell/data")
    training, held_out = split(gathered.episodes, 0.1)
    assert [len(training), len(held_out)] == [3, 1]
    pool = Dataset(tmp_path / "collected,correlated,seed=7").episodes
    of_noise = [e.checksum for e in gathered.episodes[::number]]
    assert of_noise == [e.checksum for e in pool]


def test_seeds_of_one_pool_choose_episodes_of_it_in_orders_of_their_own(tmp_path: Path) -> None:
    study = OfflineCoverage(amounts=(2, 4), one_pool=True)
    gathered = {}
    for seed in (0, 1):
        for share in study.amounts:
            data = tmp_path / f"{seed},{share}" / "data"
            study._gather(QUALITIES["random"], share, seed, data)
            gathered[seed, share] = [e.checksum for e in Dataset(data).episodes]
    assert [path.name for path in tmp_path.glob("collected*") if path.is_dir()] == [
        "collected,correlated,seed=0"
    ]
    assert gathered[0, 4] != gathered[1, 4]
    assert sorted(gathered[0, 4]) == sorted(gathered[1, 4])
    for seed in (0, 1):
        assert gathered[seed, 2] == gathered[seed, 4][:2]


def test_a_shared_policy_of_another_world_model_is_refused(
    tmp_path: Path, tiny_data: Path, tiny_world_model: Path
) -> None:
    study = MultiTaskVsPerTask(**SMALLEST["multi-task-vs-per-task"])
    inputs = Inputs(tiny_data, tiny_world_model)
    setting = study.settings()[0]
    first = study.measure(setting, 0, inputs, tmp_path / "cell")
    again = study.measure(setting, 0, inputs, tmp_path / "cell")
    assert first["return"] == again["return"]
    file = tmp_path / "policy,seed=0.safetensors"
    save_checkpoint(file, load_checkpoint(file)[0], {"world_model": "other"})
    with pytest.raises(PwmError, match=r"policy,seed=0\.safetensors was learned from"):
        study.measure(setting, 0, inputs, tmp_path / "cell")


def test_a_policy_whose_seconds_were_lost_is_extracted_anew(
    tmp_path: Path, tiny_data: Path, tiny_world_model: Path
) -> None:
    study = FirstOrderVsZeroth(**SMALLEST["first-order-vs-zeroth"])
    inputs = Inputs(tiny_data, tiny_world_model)
    written = []
    for lost in (False, False, True):
        if lost:
            (tmp_path / "policy,task=cartpole-swingup,seed=0/seconds.json").unlink()
        policy = study._policy("cartpole-swingup", 0, inputs, tmp_path / "cell")
        written.append((policy.parent / "checkpoint.safetensors").stat().st_mtime_ns)
    assert written[0] == written[1] < written[2]
