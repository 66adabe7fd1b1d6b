# SPDX-License-Identifier: Apache-2.0
"""Iterations as a GPU runs them: the same numbers, nothing that waits; the graph where CUDA is."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from pwm_core.extraction import flat_parameters
from pwm_core.extraction.config import ExtractionConfig
from pwm_core.extraction.frozen_model import FrozenModel
from pwm_core.extraction.iterations import Iterations
from pwm_core.extraction.learner import Learner
from pwm_core.extraction.reward import TrainingReward
from pwm_core.extraction.together import Together
from pwm_core.model import compiled_norms
from pwm_core.model.world_model import WorldModel, WorldModelConfig

CPU = torch.device("cpu")
SIZES = WorldModelConfig(
    latent=16, encoder_width=24, width=20, task_embedding=4, bins=21, dynamics_heads=2
)
CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


@pytest.fixture(scope="module")
def no_transfer() -> ModuleType:
    path = Path(__file__).parents[1] / "no_transfer.py"
    spec = importlib.util.spec_from_file_location("pwm_no_transfer", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def world_model(termination: bool = True, **sizes: Any) -> WorldModel:
    """Two tasks, three observations, two actions; weights that tell."""
    torch.manual_seed(3)
    config = replace(SIZES, termination=termination, **sizes)
    model = WorldModel(config, 2, 3, 2)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return model.requires_grad_(False).eval()


def learners(
    config: ExtractionConfig, latent: int = 16, device: torch.device = CPU
) -> list[Learner]:
    """Two learners, the first with one action."""
    rewards = [TrainingReward(False, 1.5, 0.1), TrainingReward(False, 0.7, 0.2)]
    return [
        Learner(latent, actions, 0.97, reward, replace(config, seed=seed), device)
        for seed, (actions, reward) in enumerate(zip((1, 2), rewards, strict=True))
    ]


def observations(iteration: int, batch: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(iteration)
    return torch.randn(2, batch, 3, generator=generator)


def weights(learner: Learner) -> list[torch.Tensor]:
    return [*learner.actor.state_dict().values(), *learner.critics.state_dict().values()]


@pytest.mark.parametrize("spread", ["targets", "returns"])
def test_the_numbers_are_those_of_together(
    extraction_config: ExtractionConfig, spread: Any
) -> None:
    config = replace(extraction_config, spread=spread)
    model, mine, others = world_model(), learners(config), learners(config)
    iterations = Iterations(model, [0, 1], mine)
    together = Together(FrozenModel(model, [0, 1]), others)
    for number in range(3):
        seen = observations(number, config.batch)
        z = torch.stack([model.encode(o, torch.full((len(o),), i)) for i, o in enumerate(seen)])
        figures = iterations.update(seen, [number, number])
        expected = together.update(z, [number, number])
        for found, wanted in zip(figures, expected, strict=True):
            for name, value in wanted.items():
                torch.testing.assert_close(found[name], value, rtol=1e-5, atol=1e-6)
    for learner, other in zip(mine, others, strict=True):
        torch.testing.assert_close(weights(learner), weights(other), rtol=1e-5, atol=1e-6)


def test_rates_on_the_device_follow_the_schedule(extraction_config: ExtractionConfig) -> None:
    """As tensors, read by the optimisers at each step, in place all the time."""
    model, plain, kept = world_model(), learners(extraction_config), learners(extraction_config)
    for learner in kept:
        learner.keep_rates_on_device()
    rates = [learner.actor_optimizer.param_groups[0]["lr"] for learner in kept]
    one, two = Iterations(model, [0, 1], plain), Iterations(model, [0, 1], kept)
    for number in range(4):
        seen = observations(number, extraction_config.batch)
        one.update(seen, [number, number])
        two.update(seen, [number, number])
    for rate, mine, other in zip(rates, kept, plain, strict=True):
        assert rate is mine.actor_optimizer.param_groups[0]["lr"]
        assert float(rate) == pytest.approx(other.actor_optimizer.param_groups[0]["lr"])
        assert float(rate) < extraction_config.actor_rate
        torch.testing.assert_close(weights(mine), weights(other), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("spread", ["targets", "returns"])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_an_iteration_waits_for_nothing(
    extraction_config: ExtractionConfig,
    no_transfer: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    spread: Any,
    precision: Any,
) -> None:
    """With terminations, penalties, several tasks; random numbers come from outside."""
    monkeypatch.setattr(flat_parameters, "asking_waits", lambda tensor: True)  # as on a GPU
    config = replace(extraction_config, spread=spread, precision=precision)
    iterations = Iterations(world_model(), [0, 1], learners(config))
    for number in range(2):  # optimisers make their state, constants reach the device
        iterations.update(observations(number, config.batch), [number, number])
    given = observations(2, config.batch)
    noise, orders = iterations._together.prepare(config.batch, [2, 2])
    with no_transfer.NoTransfer() as mode:
        iterations.step(given, noise, orders)
    assert mode.seen > 500


def test_an_iteration_with_compiled_norms_does_the_same(
    extraction_config: ExtractionConfig, no_transfer: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a GPU, where they are fused; here they run as they are written."""
    model, plain, fused = world_model(), learners(extraction_config), learners(extraction_config)
    one, two = Iterations(model, [0, 1], plain), Iterations(model, [0, 1], fused)
    monkeypatch.setattr(flat_parameters, "asking_waits", lambda tensor: True)
    for number in range(3):
        given = observations(number, extraction_config.batch)
        one.update(given, [number, number])
        with monkeypatch.context() as patch, torch.compiler.set_stance("force_eager"):
            patch.setattr(compiled_norms, "usable", lambda x: True)
            two.update(given, [number, number])
            drawn = two._together.prepare(extraction_config.batch, [number, number])
            if number == 2:
                with no_transfer.NoTransfer():
                    two.step(given, *drawn)
                one.step(given, *drawn)
    for mine, other in zip(fused, plain, strict=True):
        torch.testing.assert_close(weights(mine), weights(other), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "waits",
    [
        lambda x: x.sum().item(),
        lambda x: bool(x[0] > 0),
        lambda x: x[x > 0],
        lambda x: x.new_tensor([1.0]),
        lambda x: torch.tensor(1.0),
        torch.nonzero,
        torch.randn_like,
        lambda x: x.to("meta"),
    ],
)
def test_what_waits_is_noticed(no_transfer: ModuleType, waits) -> None:
    x = torch.ones(3)
    with no_transfer.NoTransfer(), pytest.raises(AssertionError):
        waits(x)


def test_bfloat16_products_are_near_and_leave_the_model(
    extraction_config: ExtractionConfig,
) -> None:
    model = world_model()
    before = [parameter.clone() for parameter in model.parameters()]
    exact = FrozenModel(model, [0, 1])
    rough = FrozenModel(model, [0, 1], torch.bfloat16)
    assert rough.dynamics[0].weight.dtype == torch.bfloat16
    pair = torch.rand(4, 2, 8, 18)
    for name in ("reward", "disagreement"):
        found, wanted = getattr(rough, name)(pair), getattr(exact, name)(pair)
        assert found.dtype == torch.float32
        assert not torch.equal(found, wanted)
        torch.testing.assert_close(found, wanted, rtol=0.1, atol=0.05)
    for parameter, value in zip(model.parameters(), before, strict=True):
        assert torch.equal(parameter, value)


@CUDA
@pytest.mark.parametrize("precision", ["float32", "tf32", "bfloat16"])
def test_the_graph_computes_what_single_kernels_do(
    extraction_config: ExtractionConfig, precision: Any
) -> None:
    config, device = replace(extraction_config, precision=precision), torch.device("cuda")
    model = world_model().to(device)
    graphed, single = learners(config, device=device), learners(config, device=device)
    one = Iterations(model, [0, 1], graphed)
    two = Iterations(model, [0, 1], single, graph=False)
    for number in range(8):  # one apart, three to warm up, four replays
        given = observations(number, config.batch)
        found, wanted = one.update(given, [number] * 2), two.update(given, [number] * 2)
        for figures, expected in zip(found, wanted, strict=True):
            for name, value in expected.items():
                torch.testing.assert_close(figures[name], value, rtol=1e-3, atol=1e-4)
    for mine, other in zip(graphed, single, strict=True):
        torch.testing.assert_close(weights(mine), weights(other), rtol=1e-3, atol=1e-4)


@CUDA
def test_no_synchronisation_on_the_device(extraction_config: ExtractionConfig) -> None:
    device = torch.device("cuda")
    iterations = Iterations(
        world_model().to(device), [0, 1], learners(extraction_config, device=device)
    )
    for number in range(5):
        iterations.update(observations(number, extraction_config.batch), [number] * 2)
    torch.cuda.set_sync_debug_mode("error")
    try:
        for number in range(5, 8):
            iterations.update(observations(number, extraction_config.batch), [number] * 2)
    finally:
        torch.cuda.set_sync_debug_mode("default")
