# SPDX-License-Identifier: Apache-2.0
"""The runners of pre-training and extraction on a mixture of online and offline data."""

from __future__ import annotations

import math
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pwm_core.data.dataset import Dataset
from pwm_core.data.sampler import WindowSampler
from pwm_core.data.split import split
from pwm_core.extraction.config import ExtractionConfig, ExtractionOptions
from pwm_core.extraction.runner import Extraction
from pwm_core.extraction.starts import StartRows
from pwm_core.extraction.store import TrainedPolicy
from pwm_core.finetuning.anchor import AnchoredLearner
from pwm_core.finetuning.config import FinetuningConfig
from pwm_core.finetuning.gate import root_mean_square
from pwm_core.finetuning.inputs import parts
from pwm_core.finetuning.mixture import MixedSampler
from pwm_core.model.store import TrainedWorldModel
from pwm_core.model.world_model import WorldModelConfig
from pwm_core.pretraining.judgement import validation_windows
from pwm_core.pretraining.loss import LossWeights
from pwm_core.pretraining.runner import Pretraining, PretrainingConfig, PretrainingOptions

ANCHORS = 512
"""Recorded states in which the change of actions is penalised."""
MARGIN = 0.9
"""Share of the gate's bounds on changes of actions that is used: it judges other states."""

CHANGES = ("action_change", "action_drift")
"""Of an iterate, as the gate's bounds on them are called."""


class ModelTuning(Pretraining):
    """Pre-training that goes on, half of each batch from ``offline``; online data judges it."""

    def __init__(
        self,
        online: Dataset,
        offline: Dataset,
        out: Path,
        config: PretrainingConfig,
        options: PretrainingOptions,
        initial: Path,
    ) -> None:
        self._offline = offline
        super().__init__(online, out, config, options, initial)
        self.inputs["offline_dataset"] = offline.fingerprint()

    def _prepare_windows(self) -> None:
        config, names = self.config, [task.name for task in self.tasks]
        training, held_out = split(self.dataset.episodes, config.held_out)
        older = split(self._offline.episodes, config.held_out)[0]
        count = config.transitions // config.horizon
        task, before = names
        samplers = [
            WindowSampler(dataset, episodes, rows, config.horizon, share, config.seed)
            for dataset, episodes, rows, share in (
                (self.dataset, training, [task, before], count - count // 2),
                (self._offline, older, [before, task], count // 2),
            )
        ]
        widths = self.model.observation_mean.shape[1], self.model.action_mask.shape[1]
        self.samplers = {config.horizon: MixedSampler(samplers, widths)}  # type: ignore[dict-item]
        windows = validation_windows(self.dataset, held_out, names, config.horizon, config.seed)
        self.validation = self._placed(windows)


def model_config(config: FinetuningConfig, model: WorldModelConfig) -> PretrainingConfig:
    """Return how the world model goes on; its encoder stands.

    Were it trained, the running policy's actor would read other latents: it could neither begin
    the extraction nor be imagined in the new model, which the gate asks for.
    """
    return PretrainingConfig(
        model=model,
        weights=LossWeights(),
        updates=config.updates,
        transitions=config.transitions,
        horizon=config.horizon,
        curriculum=(),
        learning_rate=config.learning_rate,
        encoder_rate=0.0,
        clip=config.clip,
        betas=(0.9, 0.95),
        held_out=config.held_out,
        seed=config.seed,
    )


class PolicyTuning(Extraction):
    """Extraction that begins with the running actor and stays near it, mostly from online states.

    The iterate is kept that the model imagines to earn most from the starts of online episodes,
    among those whose actions have changed no more than the gate allows, from the running policy's
    and from those of ``origin``, the policy that all rounds began with.
    """

    learner_type = AnchoredLearner
    learner: AnchoredLearner

    def __init__(
        self,
        trained: TrainedWorldModel,
        online: Dataset,
        offline: Dataset,
        out: Path,
        config: FinetuningConfig,
        options: ExtractionOptions,
        running: TrainedPolicy,
        origin: TrainedPolicy,
    ) -> None:
        begin = extraction_config(config, running)
        held = config.held_out
        online, self._older = parts(online, held)[0], parts(offline, held)[0]
        super().__init__(trained, online, running.task.name, out, begin, options, running)
        self._older_starts = StartRows(self._older.episodes)
        self._older_count = begin.batch - max(1, round(config.online_starts * begin.batch))
        rows = self._starts.draw(np.random.default_rng(config.seed), ANCHORS)
        observation = self._observations(rows)
        self._anchors, _ = self._encode(observation)
        self.learner.anchor(self._anchors, config.action_penalty)
        with torch.no_grad():
            self._first_actions = origin.policy(observation)
        self._largest = {name: MARGIN * getattr(config.gate, name) for name in CHANGES}

    def _evaluate(self, first_seed: int = 0) -> dict[str, Any]:
        """Return what the model imagines of whole episodes; nobody has seen the real return."""
        starts = np.array([episode.start for episode in self._episodes])
        imagined = self.imagined_return(self._observations(starts))
        change = self.learner.squared_change().sqrt().item()
        with torch.no_grad():
            drift = root_mean_square(self.learner.actor(self._anchors) - self._first_actions)
        changes = dict(zip(CHANGES, (change, drift), strict=True))
        return {"real_return": None, "imagined_return": imagined} | changes

    def _scores(self) -> list[float]:
        return [
            line["imagined_return"]
            if all(line[name] <= largest for name, largest in self._largest.items())
            else -math.inf
            for line in self._curve
        ]

    def start_observations(self) -> Tensor:
        rng = np.random.default_rng([self.config.seed, self.iteration])
        recent = self._starts.draw(rng, self.config.batch - self._older_count)
        rows = self._older_starts.draw(rng, self._older_count)
        older = self._older.observation[rows][:, : self.info.observation.size]
        return torch.cat([self._observations(recent), torch.from_numpy(older)])


def extraction_config(config: FinetuningConfig, running: TrainedPolicy) -> ExtractionConfig:
    """Return how the running policy was extracted, for the iterations of fine-tuning.

    Critics begin anew: a policy's file holds none, and the values of the robot as it was are what
    has changed.
    """
    known = {field.name for field in fields(ExtractionConfig)}
    stored: dict[str, Any] = running.record["provenance"]["config"]
    values: dict[str, Any] = {
        k: tuple(v) if isinstance(v, list) else v for k, v in stored.items() if k in known
    }
    return replace(
        ExtractionConfig(**values),
        iterations=config.iterations + config.critic_iterations,
        critic_iterations=config.critic_iterations,
        actor_rate=config.actor_rate,
        evaluate="model",
        patience=0,
        keep="best",
        seed=config.seed,
    )
