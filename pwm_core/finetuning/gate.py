# SPDX-License-Identifier: Apache-2.0
"""What a candidate must hold before anybody is asked to run it on a robot."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from pwm_core.data.dataset import Dataset
from pwm_core.data.sampler import Windows
from pwm_core.extraction.imagination import imagined_returns
from pwm_core.extraction.starts import StartRows
from pwm_core.extraction.store import TrainedPolicy
from pwm_core.finetuning.config import GateConfig
from pwm_core.finetuning.held_out import side_by_side
from pwm_core.finetuning.recorded_rewards import agreement
from pwm_core.model.store import TrainedWorldModel
from pwm_core.model.world_model import WorldModel
from pwm_core.pretraining.judgement import judge, latent_squares, predict, validation_windows

Relation = Literal["below", "at most", "at least"]
"""``below`` stands in the gates of earlier runs only."""


@dataclass(frozen=True)
class Verdict:
    """One figure held against its bound; one that is not a number holds nothing."""

    check: str
    figure: float
    relation: Relation
    bound: float
    meaning: str

    @property
    def passed(self) -> bool:
        """Whether the figure keeps to the bound."""
        return {
            "below": self.figure < self.bound,
            "at most": self.figure <= self.bound,
            "at least": self.figure >= self.bound,
        }[self.relation]

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary."""
        return asdict(self) | {"passed": self.passed}


@dataclass(frozen=True)
class Contenders:
    """The running policy and world model, and what would follow them; all know one task."""

    old_model: TrainedWorldModel
    new_model: TrainedWorldModel
    running: TrainedPolicy
    candidate: TrainedPolicy
    origin: TrainedPolicy
    """The policy that all rounds began with."""


def verdicts(
    c: Contenders,
    online: Dataset,
    offline: Dataset,
    horizon: int,
    config: GateConfig,
    seed: int,
) -> list[Verdict]:
    """Judge the candidate on ``online`` and ``offline`` episodes that trained nothing."""
    apart = side_by_side(online.episodes, horizon)
    return [
        *prediction(c, windows_of(online, horizon, seed), apart, config),
        known_rewards(c, windows_of(offline, 1, seed), config),
        imagined(c, online, config, seed),
        *action_changes(c, online, config, seed),
    ]


def windows_of(dataset: Dataset, horizon: int, seed: int) -> Windows:
    """Return windows of all episodes of a dataset of one task."""
    windows = validation_windows(dataset, dataset.episodes, list(dataset.tasks), horizon, seed)
    (task,) = dataset.tasks.values()
    observation = windows.observation[..., : task.observation.size]
    action = windows.action[..., : task.action.size]
    return Windows(observation, action, windows.reward, windows.terminal, windows.task)


def prediction(c: Contenders, windows: Windows, apart: int, config: GateConfig) -> list[Verdict]:
    """The new model does not predict held-out online windows worse than the old one.

    ``apart`` of the windows, which overlap, say something of their own.
    """
    old, new = (window_errors(m.model, windows) for m in (c.old_model, c.new_model))
    return [
        not_worse(f"{name} prediction", old[name], new[name], apart, config.told_apart)
        for name in new
    ]


def not_worse(check: str, old: Tensor, new: Tensor, apart: int, told_apart: float) -> Verdict:
    """Hold errors ``[batch]`` against those of the old model in the same windows.

    Once a model knows its robot, which of the two means is lower is chance. So it is refused when
    it is higher by ``told_apart`` standard errors of the mean difference.
    """
    chance = (new - old).std().item() / math.sqrt(min(apart, len(new)))
    meaning = (
        f"relative error on held-out online windows, bound: the old model's and {told_apart:g} "
        "standard errors of the difference"
    )
    bound = old.mean().item() + told_apart * chance
    return Verdict(check, new.mean().item(), "at most", bound, meaning)


def window_errors(model: WorldModel, windows: Windows) -> dict[str, Tensor]:
    """Return the errors ``[batch]`` of latents and rewards, relative as :func:`judge`'s are.

    No rewards where all windows have the same.
    """
    p, decided = predict(model, windows), windows.decided
    squares = {"latent": latent_squares(p, decided == 1)}
    variance = windows.reward[decided == 1].var()
    if variance > 0:
        squares["reward"] = (p.reward - windows.reward).square() / variance
    return {name: (s * decided).sum(0) / decided.sum(0) for name, s in squares.items()}


def known_rewards(c: Contenders, windows: Windows, config: GateConfig) -> Verdict:
    """The new model still rewards what the offline data was rewarded for.

    Where the old model's error is above the bound, that is the bound.
    """
    old, new = (judge(m.model, windows).reward_error or 0.0 for m in (c.old_model, c.new_model))
    meaning = "relative error on held-out offline data: it grows where online rewards contradict"
    return Verdict("known rewards", new, "at most", max(config.reward_error, old), meaning)


def recorded_rewards(
    old: TrainedWorldModel, online: Dataset, offline: Dataset, config: GateConfig, seed: int
) -> Verdict:
    """What the robot recorded is the task's reward, as far as the offline data can tell.

    ``online`` is all that was recorded: what trains does the harm. It is refused where the offline
    data can tell nothing, unless the operator vouches for it.
    """
    found = agreement(old, online, offline, seed)
    meaning = (
        f"squared difference from what the old model expects, where the offline data lies near: "
        f"{found.known} of {found.decisions} decisions"
    )
    error = found.error
    if math.isnan(error) and config.trust_rewards:
        error, meaning = 0.0, f"{meaning}; nothing vouches for them, they are trusted as told"
    elif math.isnan(error):
        meaning += (
            "; nothing vouches for them: record nearer to the offline data, add to that, or trust "
            "them (--gate.trust-rewards)"
        )
    return Verdict("recorded rewards", error, "at most", config.recorded_rewards, meaning)


def imagined(c: Contenders, online: Dataset, config: GateConfig, seed: int) -> Verdict:
    """The candidate earns in the new model what the running policy earns there, or more."""
    drawn = StartRows(online.episodes).draw(np.random.default_rng(seed), config.starts)
    rows = np.concatenate([[episode.start for episode in online.episodes], drawn])
    observation = torch.from_numpy(online.observation[rows][:, : c.running.task.observation.size])
    candidate, running = (_imagine(c, p, observation) for p in (c.candidate, c.running))
    meaning = "return over an episode's length in the new model, bound: the running policy's"
    return Verdict("imagined return", candidate, "at least", running, meaning)


@torch.no_grad()
def _imagine(c: Contenders, policy: TrainedPolicy, observation: Tensor) -> float:
    model, task = c.new_model.model, torch.zeros(len(observation), dtype=torch.long)
    z, embedding = model.encode(observation, task), model.embedding(task)
    steps = policy.task.episode_steps
    return float(imagined_returns(model, policy.policy.actor, z, embedding, steps).mean())


@torch.no_grad()
def action_changes(c: Contenders, online: Dataset, config: GateConfig, seed: int) -> list[Verdict]:
    """The candidate does not act all too differently on what was recorded.

    Neither than what runs, nor than what all rounds began with: many small steps lead far.
    """
    starts = StartRows(online.episodes)
    rows = starts.draw(np.random.default_rng(seed), min(config.observations, len(starts)))
    observation = torch.from_numpy(online.observation[rows][:, : c.running.task.observation.size])
    action = c.candidate.policy(observation)
    meaning = "root mean square on held-out online observations; actions are in [-1, 1]"
    return [
        Verdict(check, root_mean_square(action - other.policy(observation)), "at most", bound, text)
        for check, other, bound, text in (
            ("action change", c.running, config.action_change, meaning),
            ("action drift", c.origin, config.action_drift, f"{meaning}, from the first policy"),
        )
    ]


def root_mean_square(difference: Tensor) -> float:
    """Return the root of the mean square of a difference of actions."""
    return difference.square().mean().sqrt().item()


def rejected(record: Mapping[str, Any]) -> str | None:
    """Return why a policy with this record must not run, ``None`` for one that may.

    A fine-tuned policy must have passed the gate; others never met it.
    """
    if "running_policy" not in record["provenance"]:
        return None
    if "gate" not in record:
        return "the fine-tuned policy has not met its gate: pwm finetune goes on from there"
    failed = [v["check"] for v in record["gate"]["verdicts"] if not v["passed"]]
    return f"the gate refused the fine-tuned policy: {', '.join(failed)}" if failed else None
