# SPDX-License-Identifier: Apache-2.0
"""A planner's view of a real world model, policy and critics."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch

from pwm_core.checkpoint import CheckpointError, load_checkpoint, save_checkpoint
from pwm_core.evaluation.comparison import planning_problem
from pwm_core.evaluation.controllers.problem import WorldModelProblem, estimate
from pwm_core.evaluation.controllers.value import load_value
from pwm_core.extraction.actor_critic import Actor
from pwm_core.extraction.store import TrainedPolicy
from pwm_core.files import sha256
from pwm_core.model.store import TrainedWorldModel
from pwm_core.model.world_model import WorldModel


@pytest.fixture
def run(tiny_policy: Path, tmp_path: Path) -> Path:
    """A copy of the run directory of an extraction."""
    for name in ("config.json", "checkpoint.safetensors"):
        (tmp_path / name).write_bytes((tiny_policy.parent / name).read_bytes())
    return tmp_path


def test_plans_are_imagined_by_the_model(tiny_policy: Path, trained: TrainedWorldModel) -> None:
    """Latents are the policy's own; a plan's estimate is a plain loop over the model."""
    policy = TrainedPolicy.load(tiny_policy)
    value = load_value(tiny_policy.parent, trained.model.config.latent)
    index = trained.task_index(policy.task.name)
    problem = WorldModelProblem(trained.model, index, 1, 0.9, policy.policy.actor, value)
    torch.manual_seed(0)
    observation, plans = torch.randn(3, 5), torch.rand(2, 3, 4, 1) * 2 - 1
    z = problem.encode(observation)
    mean, scale = policy.policy.mean, policy.policy.scale
    torch.testing.assert_close(z, policy.policy.encoder((observation - mean) / scale))
    noise = torch.zeros(3, 1)
    torch.testing.assert_close(problem.propose(z, noise), policy.policy(observation))
    found = estimate(problem, z[:, None].expand(-1, 4, -1), plans)
    embedding = trained.model.embedding(torch.tensor([index]))
    for episode in range(3):
        for candidate in range(4):
            state, total = z[episode : episode + 1], torch.zeros(1)
            for step in range(2):
                action = plans[step, episode, candidate][None]
                total = total + 0.9**step * trained.model.reward(state, action, embedding)
                state = trained.model.next(state, action, embedding)
            total = total + 0.9**2 * value(state)
            torch.testing.assert_close(found[episode, candidate], total[0])


@pytest.mark.parametrize("chosen", [None, 0.9])
def test_plans_are_discounted_as_the_critics_were(
    tiny_policy: Path, tiny_world_model: Path, chosen: float | None
) -> None:
    trained = TrainedPolicy.load(tiny_policy)
    provenance = trained.record["provenance"]
    provenance["world_model"] = sha256(tiny_world_model)
    provenance["config"]["discount"] = chosen
    problem = planning_problem(trained, tiny_policy, tiny_world_model)
    assert trained.task.discount != 0.9
    assert problem.discount == (chosen or trained.task.discount)


def test_smaller_tasks_are_padded_and_terminations_counted(random_model: WorldModel) -> None:
    config = dataclasses.replace(random_model.config, termination=True)
    torch.manual_seed(5)
    model = WorldModel(config, 2, 3, 2)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    actor = Actor(config.latent, (8,), 1, 0.1)
    problem = WorldModelProblem(model, 0, 1, 0.9, actor, None)
    z = problem.encode(torch.randn(4, 2))
    following, reward, continues = problem.imagine(z, torch.full((4, 1), 0.5))
    embedding = model.embedding(torch.zeros(4, dtype=torch.long))
    action = torch.tensor([[0.5, 0.0]]).expand(4, -1)
    torch.testing.assert_close(following, model.next(z, action, embedding))
    torch.testing.assert_close(reward, model.reward(z, action, embedding))
    torch.testing.assert_close(continues, model.continues(following, embedding))
    assert (continues < 1).all()
    assert not problem.has_value


def test_value_is_the_critics_mean_in_units_of_reward(run: Path, tiny_policy: Path) -> None:
    tensors, header = load_checkpoint(run / "checkpoint.safetensors")
    latent = TrainedPolicy.load(tiny_policy).architecture["model"]["latent"]
    z = torch.rand(5, latent)
    once = load_value(run, latent)(z)
    assert once.shape == (5,)
    scaled = header | {"value_scale": 3 * header["value_scale"]}
    save_checkpoint(run / "checkpoint.safetensors", tensors, scaled)
    torch.testing.assert_close(load_value(run, latent)(z), 3 * once)


def test_no_value_to_plan_with(run: Path, tiny_policy: Path) -> None:
    latent = TrainedPolicy.load(tiny_policy).architecture["model"]["latent"]
    config = json.loads((run / "config.json").read_text())
    config["config"]["imagined_reward"] = "symlog"
    (run / "config.json").write_text(json.dumps(config))
    assert load_value(run, latent) is None
    tensors, header = load_checkpoint(run / "checkpoint.safetensors")
    del header["value_scale"]
    save_checkpoint(run / "checkpoint.safetensors", tensors, header)
    with pytest.raises(CheckpointError, match="value_scale"):
        load_value(run, latent)
    (run / "checkpoint.safetensors").unlink()
    assert load_value(run, latent) is None
