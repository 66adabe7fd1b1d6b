# SPDX-License-Identifier: Apache-2.0
"""Lipschitz constants against functions with known ones, a landscape against the reference."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import Tensor
from torch.nn.utils import vector_to_parameters

from pwm_core.data.dataset import Dataset
from pwm_core.extraction.config import ExtractionConfig, ExtractionOptions
from pwm_core.extraction.runner import Extraction
from pwm_core.model.store import TrainedWorldModel
from pwm_core.studies.extracting import frozen, rollouts
from pwm_core.studies.smoothness import actor_landscape, actor_parameters, smoothness

PLACES = torch.linspace(0, 2, 5)


def test_a_quadratic_bends_by_its_curvature() -> None:
    """J = 2 x² + y², from (1, 0) along x: slopes 4 … 12, 8 on average, and 4 more per distance."""

    def gradient(place: Tensor) -> Tensor:
        return torch.tensor([4.0, 2.0]) * place

    found = smoothness(gradient, torch.tensor([1.0, 0.0]), torch.tensor([5.0, 0.0]), PLACES)
    assert found.slope == pytest.approx(12)
    assert found.bend == pytest.approx(4 / 8)


def test_what_the_gradient_does_across_the_line_bends_too_but_is_no_slope() -> None:
    """J = x y, from the origin along x: the gradient is (0, x)."""

    def gradient(place: Tensor) -> Tensor:
        return place.flip(0)

    found = smoothness(gradient, torch.zeros(2), torch.tensor([1.0, 0.0]), PLACES)
    assert found.slope == pytest.approx(0)
    assert found.bend == pytest.approx(1)


def test_waves_bend_by_their_frequency_and_not_by_their_height() -> None:
    places, direction = torch.linspace(0, 1, 401), torch.ones(1)
    for height, frequency in ((1.0, 10.0), (3.0, 10.0), (1.0, 40.0)):

        def gradient(place: Tensor, h: float = height, f: float = frequency) -> Tensor:
            return h * f * torch.cos(f * place)

        found = smoothness(gradient, torch.zeros(1), direction, places)
        mean = float(torch.cos(frequency * places).abs().mean())
        assert found.slope == pytest.approx(height * frequency, rel=1e-3)
        assert found.bend == pytest.approx(frequency / mean, rel=0.02)


@pytest.fixture
def extraction(
    trained: TrainedWorldModel,
    dataset: Dataset,
    extraction_config: ExtractionConfig,
    tmp_path: Path,
) -> Extraction:
    torch.manual_seed(1)
    for parameter in trained.model.parameters():
        parameter.data += 0.2 * torch.randn_like(parameter)
    config = replace(extraction_config, evaluate="model", batch=4, horizon=3)
    return Extraction(
        trained, dataset, "cartpole-swingup", tmp_path, config, ExtractionOptions("cpu")
    )


def test_an_actors_landscape_is_that_of_the_slow_reference(
    extraction: Extraction, reference: ModuleType
) -> None:
    model, learner = frozen(extraction), extraction.learner
    learner.reward = replace(learner.reward, scale=1.0)
    ((z, noise),) = list(rollouts(extraction, learner, 1))
    gradient, begin = actor_landscape(model, learner, [(z, noise)]), actor_parameters(learner)
    direction = gradient(begin) / gradient(begin).norm()
    moved = learner.twin().actor

    def objective(distance: float) -> float:
        vector_to_parameters(begin + distance * direction, moved.parameters())
        task, discount = extraction.index, learner.discount
        rest = extraction.model, moved, learner.critics, z, task, noise, discount
        return -float(reference.actor_objective(*rest).detach())

    for distance in (0.0, 0.3):
        slope = float(gradient(begin + distance * direction) @ direction)
        rise = objective(distance + 1e-2) - objective(distance - 1e-2)
        assert slope == pytest.approx(rise / 2e-2, rel=0.02)


def test_feeling_the_landscape_leaves_the_actor_where_it_is(extraction: Extraction) -> None:
    learner = extraction.learner
    begin = actor_parameters(learner).clone()
    gradient = actor_landscape(frozen(extraction), learner, rollouts(extraction, learner, 2))
    here = gradient(begin)
    assert not torch.allclose(gradient(begin + 0.5 * here / here.norm()), here)
    assert torch.equal(actor_parameters(learner), begin)
    assert torch.equal(gradient(begin), here)
