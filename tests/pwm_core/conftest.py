# SPDX-License-Identifier: Apache-2.0
"""What the tests of the core share: the slow reference, configurations, torch on one thread."""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
import torch

from pwm_core.data.dataset import Dataset
from pwm_core.extraction.config import ExtractionConfig, ExtractionOptions
from pwm_core.model.store import TrainedWorldModel
from pwm_core.model.world_model import WorldModel, WorldModelConfig
from pwm_core.pretraining.loss import LossWeights
from pwm_core.pretraining.runner import PretrainingConfig, PretrainingOptions

MODEL = WorldModelConfig(
    latent=16,
    encoder_layers=1,
    encoder_width=24,
    width=20,
    task_embedding=4,
    simnorm_group=8,
    bins=21,
)


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """The networks are tiny, and several workers share the processors."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def reference() -> ModuleType:
    """The plain implementations in ``reference.py``."""
    path = Path(__file__).with_name("reference.py")
    spec = importlib.util.spec_from_file_location("pwm_reference", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def counting(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The study in ``studies/counting_study.py``, importable in worker processes too."""
    monkeypatch.syspath_prepend(Path(__file__).with_name("studies"))
    return importlib.import_module("counting_study")


@pytest.fixture
def dataset(tiny_data: Path) -> Dataset:
    return Dataset(tiny_data)


@pytest.fixture
def trained(tiny_world_model: Path) -> TrainedWorldModel:
    """A copy of the hardly trained world model."""
    return TrainedWorldModel.load(tiny_world_model, torch.device("cpu"))


@pytest.fixture
def random_model() -> WorldModel:
    """Two tasks, three observations, two actions (the first task has one); weights that tell.

    Double precision, so that comparisons can be tight.
    """
    torch.manual_seed(3)
    model = WorldModel(MODEL, 2, 3, 2)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    model.observation_mean.normal_()
    model.observation_scale.uniform_(0.5, 2.0)
    model.action_mask[0, 1] = 0
    return model.double()


@pytest.fixture
def pretraining_config() -> PretrainingConfig:
    return PretrainingConfig(
        model=MODEL,
        weights=LossWeights(),
        updates=20,
        transitions=64,
        horizon=8,
        curriculum=((0.6, 4),),
        learning_rate=1e-3,
        encoder_rate=0.3,
        clip=1.0,
        betas=(0.9, 0.95),
        held_out=0.25,
        seed=1,
    )


@pytest.fixture
def pretraining_options() -> PretrainingOptions:
    return PretrainingOptions(
        "cpu", compile=False, threads=1, validate_every=5, checkpoint_every=10
    )


@pytest.fixture
def extraction_config() -> ExtractionConfig:
    return ExtractionConfig(
        iterations=20,
        batch=16,
        horizon=4,
        actor_hidden=(24, 16),
        critic_hidden=(24,),
        critics=3,
        critic_passes=2,
        critic_batches=2,
        lam=0.95,
        actor_rate=5e-4,
        critic_rate=5e-4,
        final_rate=1e-5,
        betas=(0.7, 0.95),
        actor_clip=1.0,
        critic_clip=100.0,
        sigma_floor=0.24,
        seed=2,
    )


@pytest.fixture
def extraction_options() -> ExtractionOptions:
    return ExtractionOptions(
        "cpu", compile=False, evaluate_every=10, evaluation_episodes=1, checkpoint_every=10
    )
