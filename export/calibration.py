# SPDX-License-Identifier: Apache-2.0
"""The episodes a monitor is calibrated on: the policy in its nominal simulator, late as on a robot.

In training a command acts the moment it is asked for. On a robot it acts later, by what messages,
inference and the phase of two clocks take, and now and then a decision comes whole control steps
late. Both change where the policy goes, and how the world model errs there.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import nn

from pwm_core.data.behaviours.noise import exploration
from pwm_core.data.dataset import Trajectory
from pwm_core.evaluation.episodes import Act, deterministic
from pwm_core.tasks import SingleEnvironment, Task

MINUTES = 15.0
"""Of episodes of the policy, at the least."""
FEWEST = 4
"""Episodes of a lateness, at the least: half of them shape the detector, half set its threshold."""
DISTURBANCE = 0.1
"""Deviation of the noise on the actions, in [-1, 1], of half the calibration episodes."""
LATENESS = 1.0
"""Control steps by which commands usually act late at most, if nothing else is said."""
LATE_PARTS = (0.0, 0.5, 1.0)
"""Parts of it by which a third of the episodes each are late."""
HELD_SHARE = 0.02
"""Part of the decisions that a busy machine makes a whole control step later than usual."""


@dataclass(frozen=True)
class Run:
    """An episode of ``T`` decisions, with actions in [-1, 1]."""

    observation: np.ndarray
    """``[T + 1, O]``"""
    sent: np.ndarray
    """``[T + 1, A]``: the command before the episode, and for each observation but the last."""
    acted: np.ndarray
    """``[T, A]``: what acted on the robot meanwhile, on the mean of a control step."""

    @classmethod
    def of(cls, recorded: Trajectory) -> Run:
        """Return an episode of the data, whose commands acted at once for all that is known."""
        action = recorded.action
        return cls(recorded.observation, np.concatenate([action[:1], action]), action)


@dataclass(frozen=True)
class Calibration:
    """What is normal for a robot, in episodes."""

    source: str
    """What the episodes are: ``policy``, the policy's own, or ``data``."""
    lateness: float
    """Control steps by which commands usually act late at most."""
    calm: Sequence[Sequence[Run]]
    """As a robot is to run; a group of episodes for each lateness."""
    disturbed: Sequence[Run] = ()
    """These may be novel, if not too often."""


def own_episodes(
    policy: nn.Module, task: Task, lateness: float = LATENESS, seed: int = 0
) -> Calibration:
    """Return the policy's episodes in the nominal simulator: as they are, and with noisy actions.

    There are as many of each, and of each of :data:`LATE_PARTS`; :data:`FEWEST` even where episodes
    are so long that fewer make :data:`MINUTES`.
    """
    kinds = 2 * len(LATE_PARTS)
    enough = math.ceil(60 * MINUTES / (kinds * task.episode_steps * task.control_step))
    count = max(FEWEST, enough)
    rng, act = np.random.default_rng(seed), deterministic(policy)
    environment = task.make_single(seed)
    steps, substeps = task.episode_steps, environment.substeps

    def played(late: float, deviation: float) -> list[Run]:
        noise = exploration(rng, task, count, deviation)
        return [
            play(environment, task, act, own, delays(rng, steps, substeps, late)) for own in noise
        ]

    try:
        parts = [part * lateness for part in LATE_PARTS]
        calm = [played(late, 0.0) for late in parts]
        disturbed = [run for late in parts for run in played(late, DISTURBANCE)]
    finally:
        environment.close()
    return Calibration("policy", lateness, calm, disturbed)


def delays(rng: np.random.Generator, decisions: int, substeps: int, lateness: float) -> np.ndarray:
    """Return how many simulator steps ``[T]`` the command of each decision of an episode is late.

    ``lateness`` is in control steps; what is no whole number of simulator steps is rounded up as
    often as its fraction says. Where there is any lateness, a few decisions (:data:`HELD_SHARE`)
    come a control step later than usual: a tick was missed.
    """
    fractions, luck = rng.uniform(size=(2, decisions))
    usual = np.floor(lateness * substeps + fractions).astype(int)
    held = (luck < HELD_SHARE) & (lateness > 0)
    return np.where(held, usual + substeps, usual)


def acting(delay: np.ndarray, substeps: int) -> np.ndarray:
    """Return whose decision's command acts at each simulator step ``[T, substeps]``; -1: none's.

    The newest of those that have come, however they overtake one another.
    """
    decisions = np.arange(len(delay))
    due = decisions * substeps + delay
    newest = np.full(len(delay) * substeps, -1)
    heard = due < len(newest)
    np.maximum.at(newest, due[heard], decisions[heard])
    return np.maximum.accumulate(newest).reshape(-1, substeps)


def play(
    environment: SingleEnvironment, task: Task, act: Act, noise: np.ndarray, delay: np.ndarray
) -> Run:
    """Run an episode of ``act`` plus ``noise [T, A]``, whose commands are late by ``delay [T]``."""
    observations = [environment.reset()[0]]
    sent = np.empty((len(delay) + 1, task.action.size), np.float32)
    sent[0] = task.action.to_normalised(task.action.safe)
    acted = np.empty_like(sent[:-1])
    for decision, by_step in enumerate(acting(delay, environment.substeps) + 1):
        chosen = act(observations[-1][None])[0] + noise[decision]
        sent[decision + 1] = np.clip(chosen, -1, 1)
        acted[decision] = sent[by_step].mean(0)
        for source in by_step:
            environment.substep(sent[source])
        observations.append(environment.observation())
        if environment.terminated:
            break
    length = len(observations)
    return Run(np.stack(observations), sent[:length], acted[: length - 1])
