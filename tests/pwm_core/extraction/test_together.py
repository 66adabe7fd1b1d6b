# SPDX-License-Identifier: Apache-2.0
"""Several tasks side by side come to what each comes to alone."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

from pwm_core.checkpoint import load_checkpoint
from pwm_core.data.dataset import Dataset
from pwm_core.extraction.config import ExtractionConfig
from pwm_core.extraction.frozen_model import FrozenModel
from pwm_core.extraction.gradient_noise import gradient_noise
from pwm_core.extraction.learner import Learner
from pwm_core.extraction.memory import task_bytes, tasks_that_fit
from pwm_core.extraction.reward import TrainingReward
from pwm_core.extraction.runner import Extraction, extract
from pwm_core.extraction.store import TrainedPolicy
from pwm_core.extraction.together import Together
from pwm_core.model.config import SIZES
from pwm_core.model.store import TrainedWorldModel
from pwm_core.model.world_model import WorldModel
from pwm_core.progress import ProgressDisplay
from pwm_core.run_directory import read_metrics

TASKS = "cartpole-swingup", "cartpole-balance"
INPUTS = [{"world_model": "w", "dataset": "d"}] * 2


def learners(config: ExtractionConfig) -> list[Learner]:
    """Two tasks with one and two actions, other discounts and units; the second is ahead."""
    unit = TrainingReward(False, 1.0, 0.0), TrainingReward(False, 5.0, 0.0)
    sides = zip((1, 2), (0.9, 0.97), unit, strict=True)
    device = torch.device("cpu")
    return [Learner(16, a, discount, reward, config, device) for a, discount, reward in sides]


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"detach_actor": True, "networks": "mish-norm", "spread": "returns", "shuffle": False},
        {"imagined_reward": "symlog", "bootstrap": "H+1"},
    ],
)
def test_iterations_are_those_of_each_task_alone(
    random_model: WorldModel, extraction_config: ExtractionConfig, change: dict
) -> None:
    config = dataclasses.replace(extraction_config, **change)
    model = random_model.float().requires_grad_(False)
    task = torch.arange(2).repeat_interleave(6)
    together, alone = learners(config), learners(config)
    pair = Together(FrozenModel(model, [0, 1]), together)
    single = [Together(FrozenModel(model, [i]), [learner]) for i, learner in enumerate(alone)]
    for iteration in range(3):
        z = model.encode(torch.randn(12, 3), task).unflatten(0, (2, 6))
        number = [iteration, iteration + 7]
        found = pair.update(z, number)
        for i in range(2):
            (expected,) = single[i].update(z[i : i + 1], number[i : i + 1])
            for name, value in expected.items():
                torch.testing.assert_close(found[i][name], value, rtol=1e-4, atol=1e-6)
    for mine, theirs in zip(together, alone, strict=True):
        for name, tensor in theirs.tensors().items():
            torch.testing.assert_close(mine.tensors()[name], tensor, rtol=1e-3, atol=1e-5)
    assert not torch.equal(together[0].actor.mean[0].weight, together[1].actor.mean[0].weight)


def test_a_learner_goes_on_alone_after_the_others_have_left(
    random_model: WorldModel, extraction_config: ExtractionConfig
) -> None:
    model = random_model.float().requires_grad_(False)
    z = model.encode(torch.randn(12, 3), torch.arange(2).repeat_interleave(6)).unflatten(0, (2, 6))
    together, alone = learners(extraction_config), learners(extraction_config)[1]
    Together(FrozenModel(model, [0, 1]), together).update(z, [0, 0])
    Together(FrozenModel(model, [1]), together[1:]).update(z[1:], [1])
    single = Together(FrozenModel(model, [1]), [alone])
    for iteration in range(2):
        single.update(z[1:], [iteration])
    for name, tensor in alone.tensors().items():
        torch.testing.assert_close(together[1].tensors()[name], tensor, rtol=1e-3, atol=1e-5)


def test_gradient_noise_leaves_the_learner_as_it_is(
    random_model: WorldModel, extraction_config: ExtractionConfig
) -> None:
    model = random_model.float().requires_grad_(False)
    learner = learners(extraction_config)[1]
    before = {name: tensor.clone() for name, tensor in learner.tensors().items()}
    z = model.encode(torch.randn(13, 3), torch.ones(13, dtype=torch.long))
    assert 0 < gradient_noise(model, 1, learner, z, 3) < 3
    for name, tensor in learner.tensors().items():
        assert torch.equal(before[name], tensor), name


@pytest.fixture
def pair(trained: TrainedWorldModel, dataset: Dataset, extraction_config, extraction_options):
    """Extractions of both tasks in directories under a path, as a new process would start them."""

    def prepare(out: Path, **changes: object) -> list[Extraction]:
        config = dataclasses.replace(extraction_config, evaluate="model", **changes)
        return [
            Extraction(trained, dataset, task, out / task, config, extraction_options)
            for task in TASKS
        ]

    return prepare


def policies(out: Path) -> dict[str, torch.Tensor]:
    """All tensors of both tasks' policies and checkpoints."""
    return {
        f"{task}/{file}/{name}": tensor
        for task in TASKS
        for file in ("policy.safetensors", "checkpoint.safetensors")
        for name, tensor in load_checkpoint(out / task / file)[0].items()
    }


def test_runs_write_what_they_write_alone(tmp_path: Path, pair) -> None:
    for extraction in pair(tmp_path / "alone"):
        extraction.run(INPUTS[0])
    extract(pair(tmp_path / "together"), INPUTS)
    alone, together = policies(tmp_path / "alone"), policies(tmp_path / "together")
    assert alone.keys() == together.keys()
    for name, tensor in alone.items():
        torch.testing.assert_close(together[name], tensor, rtol=1e-3, atol=1e-4)
    for task in TASKS:
        files = [tmp_path / way / task for way in ("alone", "together")]
        steps = [[line["step"] for line in read_metrics(file)] for file in files]
        assert steps[0] == steps[1] == [0, 10, 20]
        names = [sorted(path.name.split(".out")[0] for path in file.iterdir()) for file in files]
        assert len(names[0]) == len(names[1])


def test_an_interrupted_pair_ends_in_the_same_numbers(
    tmp_path: Path, pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    extract(pair(tmp_path / "straight"), INPUTS)
    update = ProgressDisplay.update

    def interrupting(self: ProgressDisplay, done: int, figures=None) -> None:
        update(self, done, figures)
        if done == 26:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(ProgressDisplay, "update", interrupting)
        with pytest.raises(KeyboardInterrupt):
            extract(pair(tmp_path / "halted"), INPUTS)
    extract(pair(tmp_path / "halted"), INPUTS)
    straight, halted = policies(tmp_path / "straight"), policies(tmp_path / "halted")
    for name, tensor in straight.items():
        assert torch.equal(halted[name], tensor), name


def test_each_task_stops_when_it_is_no_use_to_go_on(
    tmp_path: Path, pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first gets no better and leaves with its policy written; the second goes on to the end,
    to the same numbers.
    """

    def evaluate(self: Extraction, *_: int) -> dict[str, float]:
        if self.info.name == TASKS[1] and self.iteration > 10:
            assert (tmp_path / "together" / TASKS[0] / "policy.safetensors").exists()
        score = 1.0 if self.info.name == TASKS[0] else 1.0 + self.iteration
        return {"real_return": score, "imagined_return": score}

    monkeypatch.setattr(Extraction, "_evaluate", evaluate)
    both = pair(tmp_path / "together", iterations=40, patience=1)
    extract(both, INPUTS)
    assert [extraction.iteration for extraction in both] == [10, 40]
    pair(tmp_path / "alone", iterations=40, patience=1)[1].run(INPUTS[0])
    files = [tmp_path / way / TASKS[1] / "policy.safetensors" for way in ("together", "alone")]
    found, expected = (load_checkpoint(file)[0] for file in files)
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, rtol=1e-3, atol=1e-4)


def test_a_task_that_fails_on_the_way_leaves_the_other_alone(
    tmp_path: Path, pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    note = Extraction._note

    def failing(self: Extraction, figures: dict) -> None:
        if self.info.name == TASKS[0] and self.iteration == 10:
            raise RuntimeError("the simulator fell over")
        note(self, figures)

    monkeypatch.setattr(Extraction, "_note", failing)
    first, second = extract(pair(tmp_path), INPUTS)
    assert isinstance(first, RuntimeError)
    assert isinstance(second, TrainedPolicy)
    assert second.record["training"]["iterations"] == 20
    assert not (tmp_path / TASKS[0] / "policy.safetensors").exists()


def test_tasks_that_fit_grow_with_memory_and_shrink_with_size() -> None:
    config = ExtractionConfig()
    tiny, large = (task_bytes(SIZES[name], config) for name in ("tiny", "48M"))
    assert 2**20 < tiny < large
    assert tasks_that_fit(20 * tiny, SIZES["tiny"], config) == 10
    assert tasks_that_fit(0, SIZES["tiny"], config) == 1
