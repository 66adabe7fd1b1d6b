# SPDX-License-Identifier: Apache-2.0
"""Extractions of studies: begun on the inputs, and judged in the real simulator."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pwm_core.data.dataset import Dataset
from pwm_core.evaluation.comparison import time_decisions
from pwm_core.evaluation.episodes import deterministic, run_episodes
from pwm_core.extraction.config import ExtractionConfig, ExtractionOptions
from pwm_core.extraction.frozen_model import FrozenModel
from pwm_core.extraction.learner import Learner
from pwm_core.extraction.runner import Extraction
from pwm_core.extraction.store import TrainedPolicy
from pwm_core.files import sha256
from pwm_core.model.store import TrainedWorldModel
from pwm_core.studies.study import Inputs
from pwm_core.tasks import get_task

PROBE = 1_000_000
"""First iteration of :func:`rollouts`; no extraction gets so far."""


def begin(task: str, config: ExtractionConfig, inputs: Inputs, out: Path) -> Extraction:
    """Return an extraction of ``task`` that evaluates itself at its beginning and end only.

    An interrupted one starts over: its seconds would else be those of the rest.
    """
    trained = TrainedWorldModel.load(inputs.world_model, torch.device("cpu"))
    options = ExtractionOptions(
        evaluate_every=config.iterations, checkpoint_every=config.iterations
    )
    return Extraction(trained, Dataset(inputs.data), task, out, config, options)


def fingerprints(inputs: Inputs) -> dict[str, str]:
    """Return what a run notes of its inputs: it does not go on in a folder begun with others."""
    return {
        "world_model": sha256(inputs.world_model),
        "dataset": Dataset(inputs.data).fingerprint(),
    }


def extract(task: str, config: ExtractionConfig, inputs: Inputs, out: Path) -> TrainedPolicy:
    """Return the policy ``out/policy.safetensors``, extracted where it is not there yet.

    ``RunDirectoryError`` where ``out`` was begun with other inputs or another configuration.
    """
    return begin(task, config, inputs, out).run(fingerprints(inputs))


def frozen(extraction: Extraction) -> FrozenModel:
    """Return the extraction's model for its task."""
    return FrozenModel(extraction.model, [extraction.index])


def computing_seconds(device: torch.device) -> float:
    """Return a clock: processor time of this process, or real time once a GPU has done all.

    A cell has one thread. What it takes of a processor is what it takes by the clock where nothing
    else runs; neighbours' turns and pauses are left out.
    """
    if device.type != "cuda":
        return time.process_time()
    torch.cuda.synchronize(device)
    return time.monotonic()


@torch.no_grad()
def start_latents(extraction: Extraction) -> Tensor:
    """Return the latents ``[batch, latent]`` that the extraction's iteration starts from."""
    return encoded(extraction, extraction.start_observations())


def encoded(extraction: Extraction, observation: Tensor) -> Tensor:
    """Return the latents of observations ``[N, O]`` of the task."""
    task = torch.full((len(observation),), extraction.index, device=extraction.device)
    return extraction.model.encode(extraction.padded(observation), task)


def rollouts(
    extraction: Extraction,
    learner: Learner,
    batches: int,
    starts: Callable[[Extraction], Tensor] = start_latents,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield what ``batches`` of rollouts that nothing was trained on begin with.

    That is the states ``[batch, latent]`` of ``starts`` and the learner's noise
    ``[horizon, batch, A]``; gradients of them are compared.
    """
    for batch in range(batches):
        extraction.iteration = PROBE + batch
        z = starts(extraction)
        yield z, learner.noise(len(z), learner.generator(extraction.iteration))


def judge(task: str, policy: nn.Module, episodes: int) -> dict[str, Any]:
    """Return the returns of real episodes 0, 1, … and the milliseconds of a decision."""
    act = deterministic(policy)
    found = run_episodes(get_task(task), act, range(episodes))
    decision_ms, _ = time_decisions(lambda: act, found.observation[:, 0])
    return {"return": found.returns.tolist(), "decision_ms": decision_ms}


def reward_error(trained: TrainedWorldModel, task: str) -> float | None:
    """Return the model's held-out reward error in percent; ``None`` where all rewards are alike."""
    error = trained.quality["tasks"][task]["reward_error"]
    return None if error is None else 100 * error
