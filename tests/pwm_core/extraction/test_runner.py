# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from pwm_core.checkpoint import CheckpointError, load_checkpoint
from pwm_core.data.dataset import Dataset, DatasetError, DatasetWriter, TaskInfo
from pwm_core.errors import PwmError
from pwm_core.extraction import runner
from pwm_core.extraction.config import ExtractionConfig, ExtractionOptions
from pwm_core.extraction.frozen_model import FrozenModel
from pwm_core.extraction.runner import CONFIRMATION_SEED, EVALUATION_SEED, Extraction
from pwm_core.extraction.store import TrainedPolicy
from pwm_core.extraction.together import Together
from pwm_core.layout import ObservationLayout
from pwm_core.model.store import TrainedWorldModel
from pwm_core.model.world_model import WorldModel
from pwm_core.progress import ProgressDisplay
from pwm_core.run_directory import RunDirectoryError, read_metrics
from pwm_core.tasks import UnknownTaskError, get_task

TASK = "cartpole-swingup"
INPUTS = {"world_model": "w", "dataset": "d"}


@pytest.fixture
def imagined_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the real episodes: the loop is looked at, not the simulator."""

    def evaluate(self: Extraction, *_: int) -> dict[str, float]:
        observation = torch.from_numpy(np.array(self.dataset.observation[:2]))
        return {"real_return": 0.0, "imagined_return": self.imagined_return(observation)}

    monkeypatch.setattr(Extraction, "_evaluate", evaluate)


@pytest.fixture
def extract(tiny_world_model: Path, dataset: Dataset, extraction_config, extraction_options):
    """Run an extraction in a directory as a new process would."""

    def run(out: Path, **changes: object) -> Extraction:
        trained = TrainedWorldModel.load(tiny_world_model, torch.device("cpu"))
        config = dataclasses.replace(extraction_config, **changes)
        extraction = Extraction(trained, dataset, TASK, out, config, extraction_options)
        extraction.run(INPUTS)
        return extraction

    return run


def interrupt_at(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    update = ProgressDisplay.update

    def interrupting(self: ProgressDisplay, done: int, figures=None) -> None:
        update(self, done, figures)
        if done == count:
            raise KeyboardInterrupt

    monkeypatch.setattr(ProgressDisplay, "update", interrupting)


@pytest.mark.usefixtures("imagined_only")
@pytest.mark.parametrize("stop", [3, 10, 17])
def test_interrupted_run_ends_in_the_same_numbers(
    tmp_path: Path, extract, monkeypatch: pytest.MonkeyPatch, stop: int
) -> None:
    extract(tmp_path / "straight")
    with monkeypatch.context() as patch:
        interrupt_at(patch, stop)
        with pytest.raises(KeyboardInterrupt):
            extract(tmp_path / "halted")
    assert not (tmp_path / "halted" / "policy.safetensors").exists()
    torch.manual_seed(99)
    extract(tmp_path / "halted")
    for name in ("policy.safetensors", "checkpoint.safetensors"):
        straight = load_checkpoint(tmp_path / "straight" / name)[0]
        resumed = load_checkpoint(tmp_path / "halted" / name)[0]
        assert straight.keys() == resumed.keys()
        for key, tensor in straight.items():
            assert torch.equal(tensor, resumed[key]), f"{name}: {key}"
    figures = [
        [{k: v for k, v in line.items() if k != "seconds"} for line in read_metrics(tmp_path / d)]
        for d in ("straight", "halted")
    ]
    assert figures[0] == figures[1]
    assert [line["step"] for line in figures[1]] == [0, 10, 20]


@pytest.mark.usefixtures("imagined_only")
def test_threads_are_chosen_once_and_to_choose_leaves_no_trace(
    tmp_path: Path,
    tiny_world_model: Path,
    dataset: Dataset,
    extraction_config: ExtractionConfig,
    extraction_options: ExtractionOptions,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = []

    def choose(label: str, step: Callable[[], object], choices: Sequence[int]) -> None:
        asked.append(tuple(choices))
        step(), step()

    def run(out: Path, *threads: int) -> TrainedPolicy:
        trained = TrainedWorldModel.load(tiny_world_model, torch.device("cpu"))
        options = dataclasses.replace(extraction_options, threads=threads)
        extraction = Extraction(trained, dataset, TASK, out, extraction_config, options)
        return extraction.run(INPUTS)

    monkeypatch.setattr(runner, "choose_threads", choose)
    fixed = run(tmp_path / "fixed", 1)
    assert asked == []
    with monkeypatch.context() as patch:
        interrupt_at(patch, 3)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path / "chosen", 1, 2)
    chosen = run(tmp_path / "chosen", 1, 2)
    assert asked == [(1, 2)]
    assert fixed.record["threads"] == chosen.record["threads"] == 1
    for name, tensor in fixed.policy.state_dict().items():
        assert torch.equal(tensor, chosen.policy.state_dict()[name]), name


@pytest.mark.usefixtures("imagined_only")
def test_world_model_is_left_alone(tmp_path: Path, extract, tiny_world_model: Path) -> None:
    extraction = extract(tmp_path)
    for name, tensor in load_checkpoint(tiny_world_model)[0].items():
        assert torch.equal(extraction.model.state_dict()[name], tensor), name
    for name, parameter in extraction.model.named_parameters():
        assert parameter.grad is None, name
        assert not parameter.requires_grad, name


@pytest.mark.usefixtures("imagined_only")
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 9}, "another config: seed was 2, now 9"),
        ({"actor_hidden": (8,)}, r"actor_hidden was \[24, 16\], now \[8\]"),
        ({"critics": 2}, "critics was 3, now 2"),
    ],
)
def test_other_configuration_is_refused_by_name(
    tmp_path: Path, extract, change: dict, message: str
) -> None:
    extract(tmp_path)
    with pytest.raises(RunDirectoryError, match=message):
        extract(tmp_path, **change)


@pytest.mark.usefixtures("imagined_only")
def test_directory_of_another_stage_is_refused(
    tmp_path: Path, extract, tiny_world_model: Path
) -> None:
    import shutil

    out = tmp_path / "world_model"
    shutil.copytree(tiny_world_model.parent, out)
    with pytest.raises(RunDirectoryError, match="another stage: was 'pretrain', now 'extract'"):
        extract(out)


@pytest.mark.usefixtures("imagined_only")
def test_damaged_checkpoint_is_refused(tmp_path: Path, extract) -> None:
    extract(tmp_path)
    file = tmp_path / "checkpoint.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match=r"checkpoint\.safetensors is no PWM checkpoint"):
        extract(tmp_path)


@pytest.fixture
def pushing(trained: TrainedWorldModel) -> TrainedWorldModel:
    """A hand-made model whose reward is the action itself."""
    model = trained.model
    action = model.config.latent
    with torch.no_grad():
        for parameter in model.reward_head.parameters():
            parameter.zero_()
        model.reward_head[1].weight.fill_(1.0)
        model.reward_head[4].weight.fill_(1.0)
        model.reward_head[0].weight[0, action] = 3.0
        model.reward_head[0].weight[1, action] = -3.0
        model.reward_head[3].weight[0, 0] = 3.0
        model.reward_head[3].weight[1, 1] = 3.0
        middle = model.config.bins // 2
        model.reward_head[6].weight[middle + 1, 0] = 2.0
        model.reward_head[6].weight[middle - 1, 1] = 2.0
    return trained


def test_short_run_improves_the_imagined_return(
    tmp_path: Path,
    dataset: Dataset,
    pushing: TrainedWorldModel,
    extraction_config: ExtractionConfig,
    extraction_options: ExtractionOptions,
) -> None:
    """Where the reward is the action itself, the policy learns to push."""
    config = dataclasses.replace(extraction_config, iterations=100, actor_rate=2e-2)
    extraction = Extraction(pushing, dataset, TASK, tmp_path, config, extraction_options)
    observation = torch.from_numpy(np.array(dataset.observation[::200]))
    before = extraction.imagined_return(observation)
    for extraction.iteration in range(config.iterations):
        extraction.iterate()
    after = extraction.imagined_return(observation)
    z, _ = extraction._encode(observation)
    assert extraction.learner.actor(z).min() > 0.5
    assert after > before + 50


def test_a_real_run_that_exploits_its_model_is_diagnosed(
    tmp_path: Path, dataset: Dataset, pushing: TrainedWorldModel, extraction_config
) -> None:
    """Pushing is what the model rewards; the real cart-pole does not."""
    config = dataclasses.replace(extraction_config, iterations=60, actor_rate=2e-2)
    options = ExtractionOptions("cpu", compile=False, evaluate_every=20, evaluation_episodes=1)
    extraction = Extraction(pushing, dataset, TASK, tmp_path, config, options)
    record = extraction.run(INPUTS).record
    training = record["training"]
    assert training["gap"] > 100
    found = {finding["signature"] for finding in record["diagnosis"]}
    assert "model exploitation" in found
    lines = read_metrics(tmp_path)
    assert [line["step"] for line in lines] == [0, 20, 40, 60]
    assert all(0 < line["gradient_noise/actor"] < 3 for line in lines[1:])
    assert TrainedPolicy.load(tmp_path / "policy.safetensors").record["diagnosis"]


@pytest.mark.usefixtures("imagined_only")
def test_gradient_noise_is_the_error_of_the_batch_mean(
    trained: TrainedWorldModel, dataset: Dataset, extraction_config, extraction_options, tmp_path
) -> None:
    """Against gradients of the eight pairs of rollouts, taken one after the other."""
    extraction = Extraction(trained, dataset, TASK, tmp_path, extraction_config, extraction_options)
    learner, (z, _) = extraction.learner, extraction._encode(extraction.start_observations())
    found = extraction._gradient_noise()
    noise = learner.noise(16, learner.generator(0))[:, None]
    together = Together(FrozenModel(extraction.model, [extraction.index]), [learner])
    pairs = []
    for first in range(0, 16, 2):
        rows = slice(first, first + 2)
        pairs += together.ascend(z[None, rows], noise[:, :, rows])
    mean = sum(pairs) / 8
    error = (sum((g - mean).square().sum() for g in pairs) / 7 / 8).sqrt()
    assert found == pytest.approx(float(error / mean.norm()), rel=1e-4)
    (whole,) = together.ascend(z[None], noise)
    torch.testing.assert_close(mean, whole, rtol=1e-3, atol=1e-6)


def no_simulator(path: Path, model: WorldModel) -> tuple[TrainedWorldModel, Dataset, TaskInfo]:
    """A task of a robot nobody has simulated: two observations, one action of two."""
    info = TaskInfo.of(get_task(TASK))
    layout = ObservationLayout(info.observation.channels[:2])
    info = dataclasses.replace(info, name="my-robot", observation=layout, episode_steps=8)
    rng = np.random.default_rng(0)
    writer = DatasetWriter(path, [info])
    for seed in range(3):
        observation, action = rng.normal(size=(9, 2)), rng.uniform(-1, 1, (8, 1))
        writer.append(info.name, "x", seed, observation, action, np.ones(8))
    return TrainedWorldModel(model.float(), [info, info], {}, {}), Dataset(path), info


@pytest.mark.parametrize("masks", [True, False])
@pytest.mark.parametrize("evaluate", ["auto", "model"])
def test_without_a_simulator_the_model_judges(
    tmp_path: Path, extraction_config, random_model: WorldModel, masks: bool, evaluate: str
) -> None:
    """The model knows a wider task too: start states are padded, the policy has its own sizes."""
    trained, dataset, info = no_simulator(tmp_path / "data", random_model)
    options = ExtractionOptions("cpu", compile=False, evaluate_every=10)
    config = dataclasses.replace(extraction_config, evaluate=evaluate, action_masks=masks)
    extraction = Extraction(trained, dataset, info.name, tmp_path / "run", config, options)
    policy = extraction.run(INPUTS)
    assert policy.record["training"]["real_return"] is None
    assert policy.record["training"]["gap"] is None
    assert np.isfinite(policy.record["training"]["imagined_return"])
    assert policy.policy(torch.zeros(4, 2)).shape == (4, 1)
    z, _ = extraction._encode(torch.zeros(4, 2))
    assert extraction.learner.actor(z).shape == (4, 1 if masks else 2)
    assert all(line["real_return"] is None for line in read_metrics(tmp_path / "run"))


def test_a_simulator_asked_for_must_exist(
    tmp_path: Path, extraction_config, extraction_options, random_model: WorldModel
) -> None:
    trained, dataset, info = no_simulator(tmp_path / "data", random_model)
    config = dataclasses.replace(extraction_config, evaluate="real")
    with pytest.raises(UnknownTaskError, match="my-robot"):
        Extraction(trained, dataset, info.name, tmp_path / "run", config, extraction_options)


def scores_in_turn(monkeypatch: pytest.MonkeyPatch, scores: list[float]) -> list[int]:
    """Evaluations return ``scores`` one after the other; return the seeds they are asked for."""
    seeds: list[int] = []

    def evaluate(self: Extraction, first_seed: int = EVALUATION_SEED) -> dict[str, float]:
        seeds.append(first_seed)
        score = scores[min(self.iteration // 10, len(scores) - 1)]
        if first_seed == CONFIRMATION_SEED:
            score = -1.0
        return {"real_return": score, "imagined_return": score}

    monkeypatch.setattr(Extraction, "_evaluate", evaluate)
    return seeds


def test_patience_stops_and_best_is_kept(
    tmp_path: Path, extract, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The policy of the best evaluation comes back, judged by episodes that did not select it."""
    seeds = scores_in_turn(monkeypatch, [1, 5, 3, 4, 9])
    stopped = extract(tmp_path / "patient", iterations=60, patience=2, keep="best")
    figures = TrainedPolicy.load(tmp_path / "patient" / "policy.safetensors").record["training"]
    assert (figures["iterations"], figures["kept"], figures["stopped_early"]) == (30, 10, True)
    assert figures["real_return"] == -1.0
    assert seeds == [EVALUATION_SEED] * 4 + [CONFIRMATION_SEED]
    alone = Extraction(
        stopped.trained, stopped.dataset, TASK, tmp_path / "x", stopped.config, stopped.options
    )
    for alone.iteration in range(10):
        alone.iterate()
    for name, tensor in alone.learner.actor.state_dict().items():
        assert torch.equal(stopped.learner.actor.state_dict()[name], tensor)


def test_the_last_policy_is_kept_by_default(
    tmp_path: Path, extract, monkeypatch: pytest.MonkeyPatch
) -> None:
    seeds = scores_in_turn(monkeypatch, [1, 5, 3])
    extract(tmp_path)
    figures = TrainedPolicy.load(tmp_path / "policy.safetensors").record["training"]
    assert (figures["kept"], figures["real_return"], figures["stopped_early"]) == (20, 3, False)
    assert seeds == [EVALUATION_SEED] * 3


def test_interrupted_run_keeps_the_best_it_had(
    tmp_path: Path, extract, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores_in_turn(monkeypatch, [1, 5, 3, 4])
    extract(tmp_path / "straight", keep="best", iterations=30)
    with monkeypatch.context() as patch:
        interrupt_at(patch, 23)
        with pytest.raises(KeyboardInterrupt):
            extract(tmp_path / "halted", keep="best", iterations=30)
    extract(tmp_path / "halted", keep="best", iterations=30)
    files = [tmp_path / name / "policy.safetensors" for name in ("straight", "halted")]
    straight, halted = (load_checkpoint(file)[0] for file in files)
    for key, tensor in straight.items():
        assert torch.equal(tensor, halted[key]), key


def test_a_stopped_run_started_again_stays_stopped(
    tmp_path: Path, extract, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores_in_turn(monkeypatch, [5, 1, 1, 9])
    for _ in range(2):
        extraction = extract(tmp_path, iterations=60, patience=2)
        assert extraction.iteration == 20
    assert [line["step"] for line in read_metrics(tmp_path)] == [0, 10, 20]


@pytest.mark.usefixtures("imagined_only")
def test_beginning_from_a_policy(
    tmp_path: Path,
    tiny_policy: Path,
    trained: TrainedWorldModel,
    dataset: Dataset,
    extraction_config,
    extraction_options,
) -> None:
    origin = TrainedPolicy.load(tiny_policy)
    config = dataclasses.replace(extraction_config, actor_hidden=(32,))
    extraction = Extraction(trained, dataset, TASK, tmp_path, config, extraction_options, origin)
    for name, tensor in origin.policy.actor.state_dict().items():
        assert torch.equal(extraction.learner.actor.state_dict()[name], tensor)
    with pytest.raises(CheckpointError, match="the policy of cartpole-swingup does not fit"):
        Extraction(trained, dataset, TASK, tmp_path, extraction_config, extraction_options, origin)


def test_imagined_return_counts_what_is_lived_to_see(
    trained: TrainedWorldModel,
    dataset: Dataset,
    extraction_config,
    extraction_options,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = trained.model
    monkeypatch.setattr(model, "reward", lambda z, *_: z.new_ones(len(z)))
    monkeypatch.setattr(model, "continues", lambda z, *_: z.new_full(z.shape[:1], 0.5))
    extraction = Extraction(trained, dataset, TASK, tmp_path, extraction_config, extraction_options)
    assert extraction.imagined_return(torch.zeros(3, 5)) == pytest.approx(2.0)


def test_disagreement_on_the_data_is_the_penaltys_unit(
    dataset: Dataset, trained: TrainedWorldModel, extraction_config, extraction_options, tmp_path
) -> None:
    config = dataclasses.replace(extraction_config, uncertainty_penalty=0.5)
    with pytest.raises(PwmError, match="disagreement needs two or more"):
        Extraction(trained, dataset, TASK, tmp_path, config, extraction_options)
    old = trained.model
    model = WorldModel(
        dataclasses.replace(old.config, dynamics_heads=2),
        len(old.task_embedding),
        old.observation_mean.shape[1],
        old.action_mask.shape[1],
    )
    several = dataclasses.replace(trained, model=model)
    extraction = Extraction(several, dataset, TASK, tmp_path, config, extraction_options)
    reward = np.concatenate(
        [dataset.reward[e.start + 1 : e.rows.stop] for e in dataset.of_task(TASK)]
    )
    unit = extraction.learner.reward.penalty * extraction._disagreement()
    assert unit == pytest.approx(0.5 * reward.std(), rel=1e-5)
    assert all(torch.isfinite(value).all() for value in extraction.iterate().values())


def test_dataset_of_another_layout_is_refused(
    tmp_path: Path,
    dataset: Dataset,
    trained: TrainedWorldModel,
    extraction_config,
    extraction_options,
) -> None:
    trained.tasks[0] = dataclasses.replace(trained.tasks[0], control_step=0.01)
    with pytest.raises(DatasetError, match=f"does not describe {TASK} as the world model does"):
        Extraction(trained, dataset, TASK, tmp_path, extraction_config, extraction_options)


def test_policy_file_round_trip(tiny_policy: Path, tiny_world_model: Path) -> None:
    trained = TrainedPolicy.load(tiny_policy)
    assert trained.task == TaskInfo.of(get_task(TASK))
    training = trained.record["training"]
    assert training["gap"] == training["imagined_return"] - training["real_return"]
    assert (training["iterations"], training["kept"], training["stopped_early"]) == (3, 3, False)
    assert trained.record["provenance"]["config"]["iterations"] == 3
    action = trained.policy(torch.zeros(2, 5))
    assert action.shape == (2, 1)
    assert not trained.policy.training
    with pytest.raises(CheckpointError, match="is a 'world_model', expected a policy"):
        TrainedPolicy.load(tiny_world_model)
