# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import dataclasses
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from pwm_core.data.dataset import Dataset, DatasetError, DatasetWriter, TaskInfo
from pwm_core.data.sampler import WindowSampler
from pwm_core.errors import PwmError
from pwm_core.model.store import TrainedWorldModel
from pwm_core.model.world_model import WorldModel
from pwm_core.pretraining.preparation import (
    balanced,
    build_model,
    extend_model,
    pad,
)
from pwm_core.pretraining.runner import Pretraining
from pwm_core.tasks import get_task


def random_data(path: Path, episodes: dict[str, int], steps: int = 20) -> Dataset:
    """Write random episodes, so many of each task."""
    tasks = [TaskInfo.of(get_task(name)) for name in episodes]
    writer = DatasetWriter(path, tasks)
    rng = np.random.default_rng(0)
    for task in tasks:
        for number in range(episodes[task.name]):
            observation = 2 + rng.normal(size=(steps + 1, task.observation.size))
            action = rng.uniform(-1, 1, (steps, task.action.size))
            reward = action.sum(1)
            writer.append(task.name, "x", number, observation, action, reward)
    return Dataset(path)


@pytest.fixture
def finger(tmp_path: Path) -> Dataset:
    """A wider task than the cart-pole's."""
    return random_data(tmp_path / "finger", {"finger-spin": 8})


@pytest.fixture
def pendulum(tmp_path: Path) -> Dataset:
    """A narrower task than the cart-pole's."""
    return random_data(tmp_path / "pendulum", {"pendulum-swingup": 8})


def old_predictions(model: WorldModel) -> list[torch.Tensor]:
    """Latents, next latents and rewards of the two cart-pole tasks."""
    torch.manual_seed(1)
    task = torch.arange(6) % 2
    observation, action = torch.randn(6, 5), torch.rand(6, 1) * 2 - 1
    observation = torch.nn.functional.pad(observation, (0, model.observation_mean.shape[1] - 5))
    action = torch.nn.functional.pad(action, (0, model.action_mask.shape[1] - 1))
    with torch.no_grad():
        embedding, z = model.embedding(task), model.encode(observation, task)
        return [z, model.next(z, action, embedding), model.reward(z, action, embedding)]


def test_padding_is_neither_normalised_nor_acted_on(
    tmp_path: Path, pretraining_config, pretraining_options
) -> None:
    data = random_data(tmp_path / "data", {"pendulum-swingup": 4, "finger-spin": 4})
    model = build_model(data, pretraining_config.model)
    assert model.observation_mean[0, 3:].abs().sum() == 0
    assert (model.observation_scale[0, 3:] == 1).all()
    assert model.action_mask.tolist() == [[1, 0], [1, 1]]
    training = Pretraining(data, tmp_path / "run", pretraining_config, pretraining_options)
    windows = training._windows()
    narrow = windows.task == 0
    normal = (windows.observation - model.observation_mean[windows.task]) / (
        model.observation_scale[windows.task]
    )
    assert 0 < narrow.sum() < len(narrow)
    assert (normal[:, narrow, 3:] == 0).all()
    assert (normal[:, narrow, :3] != 0).all()
    assert (windows.action[:, narrow, 1:] == 0).all()


def test_pad_widens_and_narrows(dataset: Dataset) -> None:
    windows = WindowSampler(dataset, dataset.episodes, list(dataset.tasks), 4, 3, 0).batch(0)
    wide = pad(windows, 7, 3)
    assert wide.observation.shape == (5, 3, 7)
    assert wide.action.shape == (4, 3, 3)
    assert not wide.observation[..., 5:].any()
    again = pad(wide, 5, 1)
    assert torch.equal(again.observation, windows.observation)
    assert torch.equal(again.action, windows.action)


def test_balanced_repeats_the_rarer_tasks(tmp_path: Path) -> None:
    counts = {"pendulum-swingup": 2, "cartpole-swingup": 10, "cartpole-balance": 4}
    data = random_data(tmp_path, counts)
    found = Counter(episode.task for episode in balanced(data.episodes))
    assert found == {"pendulum-swingup": 10, "cartpole-swingup": 10, "cartpole-balance": 8}
    starts = {episode.start for episode in balanced(data.episodes)}
    assert starts == {episode.start for episode in data.episodes}


def test_a_narrower_task_is_added(trained: TrainedWorldModel, pendulum: Dataset) -> None:
    model, tasks = extend_model(trained, pendulum)
    assert [task.name for task in tasks][2:] == ["pendulum-swingup"]
    for found, expected in zip(old_predictions(model), old_predictions(trained.model), strict=True):
        assert torch.equal(found, expected)
    assert model.observation_mean[2, :3].numpy() == pytest.approx([2, 2, 2], abs=0.3)
    assert model.observation_mean[2, 3:].tolist() == [0, 0]
    assert model.task_embedding[2].abs().max() > 0


def test_a_wider_task_is_added(trained: TrainedWorldModel, finger: Dataset) -> None:
    config = dataclasses.replace(trained.model.config, dynamics_heads=2, termination=True)
    wide = WorldModel(config, 2, 5, 1)
    trained = dataclasses.replace(trained, model=wide)
    model, _ = extend_model(trained, finger)
    assert model.observation_mean.shape == (3, 9)
    assert model.action_mask.tolist() == [[1, 0], [1, 0], [1, 1]]
    for found, expected in zip(old_predictions(model), old_predictions(wide), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    embedding = model.embedding(torch.tensor([0, 1]))
    z = torch.rand(2, 32)
    with torch.no_grad():
        apart = model.disagreement(z, torch.tensor([[0.3, 0.0], [-0.1, 0.0]]), embedding)
        expected = wide.disagreement(z, torch.tensor([[0.3], [-0.1]]), embedding)
    torch.testing.assert_close(apart, expected, rtol=1e-4, atol=1e-6)


def test_a_task_described_otherwise_is_refused(
    trained: TrainedWorldModel, dataset: Dataset
) -> None:
    other = dataclasses.replace(trained.tasks[0], control_step=1.0)
    changed = dataclasses.replace(trained, tasks=[other, trained.tasks[1]])
    with pytest.raises(DatasetError, match="does not describe cartpole-swingup as the world model"):
        extend_model(changed, dataset)


def test_training_only_the_new_embedding_leaves_the_rest(
    tiny_world_model: Path,
    tmp_path: Path,
    pretraining_config,
    pretraining_options,
    trained: TrainedWorldModel,
) -> None:
    """The old tasks' data is in the batches too, and still nothing of theirs moves."""
    data = random_data(tmp_path / "data", {"pendulum-swingup": 8, "cartpole-balance": 8})
    config = dataclasses.replace(pretraining_config, only_embedding=True)
    out = tmp_path / "run"
    after = Pretraining(data, out, config, pretraining_options, tiny_world_model).run()
    before = trained.model.state_dict()
    for name, tensor in after.model.state_dict().items():
        if tensor.shape == before[name].shape:
            assert torch.equal(tensor, before[name]), name
        else:
            assert torch.equal(tensor[:2], before[name]), name
    for found, expected in zip(
        old_predictions(after.model), old_predictions(trained.model), strict=True
    ):
        assert torch.equal(found, expected)
    fresh, _ = extend_model(trained, data)
    assert 1e-4 < (after.model.task_embedding[2] - fresh.task_embedding[2]).abs().max() < 1
    assert set(after.quality["tasks"]) == {task.name for task in after.tasks}
    again = TrainedWorldModel.load(out / "world_model.safetensors", torch.device("cpu"))
    assert again.task_index("pendulum-swingup") == 2


def test_a_new_embedding_alone_cannot_use_wider_inputs(
    tiny_world_model: Path, tmp_path: Path, finger: Dataset, pretraining_config, pretraining_options
) -> None:
    config = dataclasses.replace(pretraining_config, only_embedding=True)
    with pytest.raises(
        DatasetError, match=r"finger-spin has 9 observations and 2 actions, .* 5 an"
    ):
        Pretraining(finger, tmp_path, config, pretraining_options, tiny_world_model)


def test_only_embedding_needs_a_model_and_a_new_task(
    tiny_world_model: Path,
    tmp_path: Path,
    dataset: Dataset,
    pretraining_config,
    pretraining_options,
) -> None:
    config = dataclasses.replace(pretraining_config, only_embedding=True)
    with pytest.raises(DatasetError, match=r"has no task that .* does not know"):
        Pretraining(dataset, tmp_path, config, pretraining_options, tiny_world_model)
    with pytest.raises(PwmError, match="needs a trained world model: say which with --from"):
        Pretraining(dataset, tmp_path, config, pretraining_options)


def test_fine_tuning_starts_from_the_given_weights(
    tiny_world_model: Path,
    tmp_path: Path,
    finger: Dataset,
    pretraining_config,
    pretraining_options,
    trained: TrainedWorldModel,
) -> None:
    training = Pretraining(
        finger, tmp_path, pretraining_config, pretraining_options, tiny_world_model
    )
    assert training.config.model == trained.model.config
    before = {name: p.detach().clone() for name, p in training.model.named_parameters()}
    expected = trained.model.dynamics[-2].weight
    assert torch.equal(training.model.dynamics[-2].weight, expected)
    after = training.run()
    for name, parameter in after.model.named_parameters():
        assert not torch.equal(parameter, before[name]), name
    again = TrainedWorldModel.load(tmp_path / "world_model.safetensors", torch.device("cpu"))
    assert [task.name for task in again.tasks] == [*(t.name for t in trained.tasks), "finger-spin"]
    assert set(again.quality["tasks"]) == {"finger-spin"}
