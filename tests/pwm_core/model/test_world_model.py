# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest
import torch

from pwm_core.checkpoint import CheckpointError
from pwm_core.errors import PwmError
from pwm_core.model.config import LatentLayerName, RewardHeadName
from pwm_core.model.latents import LATENT_LAYERS
from pwm_core.model.reward_codes import REWARD_CODES
from pwm_core.model.store import TrainedWorldModel
from pwm_core.model.world_model import SIZES, WorldModel, WorldModelConfig

CHOICES = [
    {},
    {"simnorm_temperature": 0.5},
    {"latent_layer": "mish"},
    {"latent_layer": "relu"},
    {"latent_layer": "layernorm"},
    {"latent_layer": "spectral"},
    {"reward_symlog": False},
    {"reward_head": "mse"},
    {"reward_head": "mse", "reward_symlog": False},
]


def chosen(random_model: WorldModel, **choice: object) -> WorldModel:
    """A model like ``random_model`` with other choices, power iterations done."""
    model = WorldModel(replace(random_model.config, **choice), 2, 3, 2).double()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    model.observation_mean.copy_(random_model.observation_mean)
    model.observation_scale.copy_(random_model.observation_scale)
    task = torch.tensor([0])
    for _ in range(300 if choice.get("latent_layer") == "spectral" else 0):
        z = model.encode(torch.zeros(1, 3).double(), task)
        model.next(z, torch.zeros(1, 2).double(), model.embedding(task))
    return model


@pytest.mark.parametrize("choice", CHOICES, ids=str)
def test_parts_equal_the_reference(random_model: WorldModel, reference, choice) -> None:
    model = chosen(random_model, **choice)
    torch.manual_seed(0)
    task = torch.tensor([0, 1, 1, 0])
    observation = torch.randn(5, 4, 3, dtype=torch.float64)
    action = torch.rand(4, 2, dtype=torch.float64)
    embedding = model.embedding(task)
    z = model.encode(observation, task)
    assert z.shape == (5, 4, 16)
    after = model.next(z[0], action, embedding)
    rewards = model.reward(z[0], action, embedding)
    for b in range(4):
        t = int(task[b])
        for step in range(5):
            expected = reference.encode(model, observation[step, b], t)
            torch.testing.assert_close(z[step, b], expected)
        torch.testing.assert_close(after[b], reference.step(model, z[0, b], action[b], t))
        expected = reference.reward(model, z[0, b], action[b], t)
        torch.testing.assert_close(rewards[b], expected)


def test_every_choice_is_known() -> None:
    assert set(LATENT_LAYERS) == set(get_args(LatentLayerName))
    assert set(REWARD_CODES) == set(get_args(RewardHeadName))


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({"latent_layer": "tanh"}, "latent_layer is 'tanh', expected one of simnorm, mish, relu"),
        ({"reward_head": "bins"}, "reward_head is 'bins', expected one of two-hot, mse"),
        ({"latent": 20}, "latent 20 is no multiple of simnorm_group 8"),
        ({"simnorm_group": 0}, "simnorm_group is 0, expected 1 or more"),
        ({"simnorm_group": -8}, "simnorm_group is -8, expected 1 or more"),
        ({"simnorm_temperature": 0.0}, "simnorm_temperature is 0.0, expected above 0"),
        ({"simnorm_temperature": math.nan}, "simnorm_temperature is nan, expected above 0"),
        ({"latent": 0}, "latent is 0, expected 1 or more"),
        ({"width": 0}, "width is 0, expected 1 or more"),
        ({"encoder_width": 0}, "encoder_width is 0, expected 1 or more"),
        ({"task_embedding": -1}, "task_embedding is -1, expected 0 or more"),
        ({"dynamics_heads": 0}, "dynamics_heads is 0, expected 1 or more"),
        ({"encoder_layers": 0}, "encoder_layers is 0, expected 1 or more"),
        ({"bins": 1}, "1 reward bins from -10.0 to 10.0: expected two or more"),
        ({"reward_low": math.nan}, "bins from nan to 10.0: expected two or more, the lowest below"),
        ({"reward_low": 10.0}, "bins from 10.0 to 10.0: expected two or more, the lowest below"),
    ],
)
def test_impossible_choices_are_refused(choice, message: str) -> None:
    with pytest.raises(PwmError, match=message):
        WorldModelConfig(**choice)


def test_task_matters(random_model: WorldModel) -> None:
    observation = torch.zeros(1, 3, dtype=torch.float64)
    first = random_model.encode(observation, torch.tensor([0]))
    assert (first - random_model.encode(observation, torch.tensor([1]))).abs().max() > 1e-3


def test_embeddings_are_at_most_of_norm_one(random_model: WorldModel) -> None:
    with torch.no_grad():
        random_model.task_embedding.copy_(torch.tensor([[3.0, 4, 0, 0], [0.1, 0, 0, 0]]))
    norms = random_model.embedding(torch.tensor([0, 1, 0])).norm(dim=-1)
    torch.testing.assert_close(norms, torch.tensor([1.0, 0.1, 1.0]).double())


def random_inputs(model: WorldModel, batch: int) -> tuple[torch.Tensor, ...]:
    """Latents, actions and embeddings."""
    task = torch.arange(batch) % len(model.task_embedding)
    z = torch.randn(batch, model.config.latent).double()
    action = torch.rand(batch, model.action_mask.shape[1]).double()
    return z, action, model.embedding(task)


def test_more_heads_leave_the_model_as_it_is(random_model: WorldModel) -> None:
    torch.manual_seed(7)
    plain = WorldModel(random_model.config, 2, 3, 2).state_dict()
    torch.manual_seed(7)
    config = replace(random_model.config, dynamics_heads=3, termination=True)
    model = WorldModel(config, 2, 3, 2)
    assert all(torch.equal(tensor, model.state_dict()[name]) for name, tensor in plain.items())
    assert not torch.equal(model.dynamics[0].weight, model.other_dynamics[0][0].weight)
    assert not torch.equal(model.other_dynamics[0][0].weight, model.other_dynamics[1][0].weight)


def test_disagreement_is_the_spread_of_the_heads(random_model: WorldModel, reference) -> None:
    config = replace(random_model.config, dynamics_heads=3)
    model = WorldModel(config, 2, 3, 2).double()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    z, action, embedding = random_inputs(model, 4)
    found = model.disagreement(z, action, embedding)
    for b in range(4):
        expected = reference.disagreement(model, z[b], action[b], b % 2)
        torch.testing.assert_close(found[b], expected)
    assert (found > 1e-3).all()


def test_agreeing_heads_have_finite_gradients(random_model: WorldModel) -> None:
    model = WorldModel(replace(random_model.config, dynamics_heads=2), 2, 3, 2).double()
    model.other_dynamics[0].load_state_dict(model.dynamics.state_dict())
    z, action, embedding = random_inputs(model, 4)
    action.requires_grad_()
    model.disagreement(z, action, embedding).sum().backward()
    assert torch.isfinite(action.grad).all()


def test_one_head_cannot_disagree(random_model: WorldModel) -> None:
    with pytest.raises(PwmError, match="has one dynamics head, disagreement needs two"):
        random_model.disagreement(*random_inputs(random_model, 2))


def test_continuation(random_model: WorldModel, reference) -> None:
    z, _, embedding = random_inputs(random_model, 4)
    assert torch.equal(random_model.continues(z, embedding), torch.ones(4).double())
    model = WorldModel(replace(random_model.config, termination=True), 2, 3, 2).double()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    found = model.continues(z, model.embedding(torch.arange(4) % 2))
    for b in range(4):
        torch.testing.assert_close(found[b], reference.continues(model, z[b], b % 2))


def test_untrained_reward_is_zero() -> None:
    model = WorldModel(SIZES["tiny"], 1, 5, 1)
    z = model.encode(torch.randn(3, 5), torch.zeros(3, dtype=torch.long))
    embedding = model.embedding(torch.zeros(3, dtype=torch.long))
    torch.testing.assert_close(
        model.reward(z, torch.zeros(3, 1), embedding), torch.zeros(3), atol=1e-5, rtol=0
    )


def test_five_million_model_has_the_published_size() -> None:
    with torch.device("meta"):
        model = WorldModel(SIZES["5M"], 1, 39, 6)
    count = sum(p.numel() for p in model.parameters())
    assert 1.4e6 < count < 2.0e6


def test_store_round_trip(trained: TrainedWorldModel, tmp_path: Path) -> None:
    path = tmp_path / "world_model.safetensors"
    trained.save(path)
    again = TrainedWorldModel.load(path, torch.device("cpu"))
    assert again.tasks == trained.tasks
    assert again.quality == trained.quality
    assert again.provenance == trained.provenance
    assert again.model.config == trained.model.config
    for name, tensor in trained.model.state_dict().items():
        assert torch.equal(again.model.state_dict()[name], tensor), name


def test_unknown_task_lists_the_known(trained: TrainedWorldModel) -> None:
    assert trained.task_index("cartpole-balance") == 1
    with pytest.raises(CheckpointError, match="knows cartpole-swingup, cartpole-balance, not 'x'"):
        trained.task_index("x")


def test_policy_is_no_world_model(tiny_policy: Path) -> None:
    with pytest.raises(CheckpointError, match="is a 'policy', expected a world_model"):
        TrainedWorldModel.load(tiny_policy, torch.device("cpu"))


def test_weights_of_another_size_are_named(trained: TrainedWorldModel, tmp_path: Path) -> None:
    path = tmp_path / "odd.safetensors"
    narrower = WorldModelConfig(32, 1, 16, 32, 4, 8, 21)
    trained.model.config = narrower
    trained.save(path)
    with pytest.raises(CheckpointError, match=r"odd\.safetensors does not fit: encoder\.0\.bias"):
        TrainedWorldModel.load(path, torch.device("cpu"))
