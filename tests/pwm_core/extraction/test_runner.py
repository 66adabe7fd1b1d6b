# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from pwm_core.checkpoint import CheckpointError, load_checkpoint
from pwm_core.data.dataset import Dataset, DatasetError, DatasetWriter, TaskInfo
from pwm_core.extraction.config import ExtractionConfig, ExtractionOptions
from pwm_core.extraction.runner import Extraction
from pwm_core.extraction.store import TrainedPolicy
from pwm_core.layout import ObservationLayout
from pwm_core.model.store import TrainedWorldModel
from pwm_core.model.world_model import WorldModel
from pwm_core.progress import ProgressDisplay
from pwm_core.run_directory import RunDirectoryError, read_metrics
from pwm_core.tasks import get_task

TASK = "cartpole-swingup"
INPUTS = {"world_model": "w", "dataset": "d"}


@pytest.fixture
def imagined_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the real episodes: the loop is looked at, not the simulator."""

    def evaluate(self: Extraction) -> dict[str, float]:
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


def test_short_run_improves_the_imagined_return(
    tmp_path: Path,
    dataset: Dataset,
    trained: TrainedWorldModel,
    extraction_config: ExtractionConfig,
    extraction_options: ExtractionOptions,
) -> None:
    """In a hand-made model whose reward is the action itself, the policy learns to push."""
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
    config = dataclasses.replace(extraction_config, iterations=100, actor_rate=2e-2)
    extraction = Extraction(trained, dataset, TASK, tmp_path, config, extraction_options)
    observation = torch.from_numpy(np.array(dataset.observation[::200]))
    before = extraction.imagined_return(observation)
    for extraction.iteration in range(config.iterations):
        extraction.iterate()
    after = extraction.imagined_return(observation)
    z, _ = extraction._encode(observation)
    assert extraction.learner.actor(z).min() > 0.5
    assert after > before + 50


def test_padded_model_and_narrower_dataset(
    tmp_path: Path, extraction_config, extraction_options, random_model: WorldModel
) -> None:
    """The model knows a wider task: start states are padded, the policy has its own sizes."""
    layout = get_task(TASK).observation.channels
    narrow = dataclasses.replace(
        TaskInfo.of(get_task(TASK)), name=TASK, observation=ObservationLayout(layout[:2])
    )
    rng = np.random.default_rng(0)
    writer = DatasetWriter(tmp_path / "data", [narrow])
    writer.append(TASK, "x", 0, rng.normal(size=(9, 2)), np.zeros((8, 1)), np.ones(8))
    trained = TrainedWorldModel(random_model.float(), [narrow, narrow], {}, {})
    extraction = Extraction(
        trained,
        Dataset(tmp_path / "data"),
        TASK,
        tmp_path / "run",
        extraction_config,
        extraction_options,
    )
    figures = extraction.iterate()
    assert all(torch.isfinite(value).all() for value in figures.values())
    assert extraction.policy()(torch.zeros(4, 2)).shape == (4, 1)
    assert np.isfinite(extraction.imagined_return(torch.zeros(2, 2)))


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
