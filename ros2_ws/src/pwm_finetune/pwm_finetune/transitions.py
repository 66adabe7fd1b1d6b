# SPDX-License-Identifier: Apache-2.0
"""What was observed, sent and earned, put together: unbroken stretches of episodes. No ROS.

Observations and actions come on two topics, so that either may overtake the other, and both may be
lost. A transition counts once it is certain: both observations and exactly one command for it,
which was not the safe action. Anything else is a gap, which no stretch spans.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from pwm_core.data.writer import TOLERANCE

SETTLING = 25
"""A transition is decided on so many observations later: by then what was not lost has come."""
WHOLE = 0.9
"""Part of an episode's decisions that has to be known to say whose return it is."""

RewardFunction = Callable[[np.ndarray, np.ndarray, np.ndarray], float]
"""Reward of observation ``[O]``, action ``[A]`` in [-1, 1] and the observation ``[O]`` after it."""


@dataclass(frozen=True)
class Observed:
    """One observation, as the policy got it."""

    step: int
    """Counts observations over all episodes."""
    episode: int
    episode_step: int
    """Decisions taken in this episode."""
    data: np.ndarray
    """``[O]``, raw units."""
    reward: float
    """Of the decision that led here; NaN where the message does not know."""
    terminated: bool = False
    """A terminal state."""
    truncated: bool = False
    """The episode ends here for another reason."""
    total: float = math.nan
    """Sum of the episode's rewards so far; NaN where the message does not know."""


@dataclass(frozen=True)
class Sent:
    """One command, after all limits."""

    step: int
    """Observation that it answers."""
    policy: str
    epoch: int
    """Counts swaps of the policy node."""
    action: np.ndarray
    """``[A]`` in [-1, 1], of the bundle's range."""
    safe: bool


@dataclass(frozen=True)
class Stretch:
    """Consecutive transitions of one episode under one policy."""

    episode: int
    """Counts episodes heard of, also over restarts of whoever observes."""
    policy: str
    observation: np.ndarray
    """``[T + 1, O]``"""
    action: np.ndarray
    """``[T, A]`` in [-1, 1]."""
    reward: np.ndarray
    """``[T]``"""
    terminated: bool


@dataclass(frozen=True)
class Outcome:
    """A whole episode in which one policy acted."""

    policy: str
    epoch: int
    total: float
    """Sum of its rewards; NaN where the safe action acted for the policy."""
    decisions: int


@dataclass
class _Episode:
    """The episode that is being put together."""

    robots: int
    """Its number in the messages."""
    number: int
    """Its number here."""
    observations: list[np.ndarray] = field(default_factory=list)
    actions: list[np.ndarray] = field(default_factory=list)
    rewards: list[float] = field(default_factory=list)
    acting: tuple[str, int] = ("", -1)
    """Policy and epoch of the present stretch."""
    decided: int = 0
    """Transitions found, over all stretches."""
    policies: set[tuple[str, int]] = field(default_factory=set)
    """Those that acted, and those for which the safe action acted."""
    total: float = 0.0
    """Rewards of these transitions."""
    stopped: bool = False
    """Whether the safe action acted."""


class Pairing:
    """Puts observations and commands together.

    ``stretch`` hears of each unbroken stretch, ``outcome`` of each whole episode. ``gaps`` counts
    the transitions that were left out, by their reason.
    """

    def __init__(
        self,
        stretch: Callable[[Stretch], None],
        outcome: Callable[[Outcome], None],
        reward: RewardFunction | None = None,
    ) -> None:
        """``reward`` replaces the messages'."""
        self.gaps: Counter[str] = Counter()
        self._stretch, self._outcome, self._reward = stretch, outcome, reward
        self._observed: dict[int, Observed] = {}
        self._sent: dict[int, Sent | None] = {}
        self._next = 0
        self._newest = 0
        self._episode = _Episode(-1, -1)

    def observe(self, observed: Observed) -> None:
        """Take an observation; a repeated one is ignored."""
        if self._newest and observed.step < self._newest - SETTLING:
            self.cut("the observations started anew")
        if observed.step < self._next or observed.step in self._observed:
            return
        if not self._newest:
            self._next = observed.step
        self._observed[observed.step] = observed
        self._newest = max(self._newest, observed.step)
        self._settle(self._newest - SETTLING)

    def send(self, sent: Sent) -> None:
        """Take a command. Two different ones for an observation leave it open which one acted."""
        if sent.step < self._next:
            return
        known = self._sent.setdefault(sent.step, sent)
        if known is not None and not (
            np.array_equal(known.action, sent.action) and known.safe == sent.safe
        ):
            self._sent[sent.step] = None

    def flush(self) -> None:
        """Decide on all that can be: nothing more will come for it."""
        self._settle(self._newest)

    def cut(self, reason: str) -> None:
        """Begin anew: what was heard so far and what comes do not belong together."""
        self.flush()
        self._close(False)
        self.gaps[reason] += 1
        self._observed.clear()
        self._sent.clear()
        self._newest = self._next = 0
        self._episode = _Episode(-1, self._episode.number)

    def _settle(self, until: int) -> None:
        """Decide on the transitions from observations before number ``until``."""
        while self._next < until:
            step, self._next = self._next, self._next + 1
            before, after = self._observed.pop(step, None), self._observed.get(step + 1)
            self._decide(before, self._sent.pop(step, None), after)

    def _decide(self, before: Observed | None, sent: Sent | None, after: Observed | None) -> None:
        if before is None:
            return  # counted with the one before
        if before.episode != self._episode.robots:
            self._close(False)
            self._episode = _Episode(before.episode, self._episode.number + 1)
        if before.terminated or before.truncated:
            return  # nothing follows it
        if after is not None and after.episode != before.episode:
            self._close(False)  # a reset in the middle: no transition was lost
            return
        objection = _objection(before, sent, after)
        if objection or sent is None or after is None:
            if sent is not None and sent.safe:
                self._episode.stopped = True
                self._episode.policies.add((sent.policy, sent.epoch))
            self.gaps[objection] += 1
            self._close(False)
        else:
            self._add(before, sent, after)
        if after is not None and (after.terminated or after.truncated):
            self._end(after)

    def _add(self, before: Observed, sent: Sent, after: Observed) -> None:
        episode = self._episode
        reward = after.reward
        if self._reward is not None:
            reward = self._reward(before.data, sent.action, after.data)
        if not math.isfinite(reward):
            self.gaps["no finite reward"] += 1
            self._close(False)
            return
        if episode.acting != (sent.policy, sent.epoch):
            self._close(False)
            episode.acting = (sent.policy, sent.epoch)
        if not episode.actions:
            episode.observations.append(before.data)
        episode.observations.append(after.data)
        episode.actions.append(sent.action)
        episode.rewards.append(reward)
        episode.decided += 1
        episode.policies.add(episode.acting)
        episode.total += reward

    def _end(self, last: Observed) -> None:
        episode = self._episode
        self._close(last.terminated)
        total = last.total if self._reward is None else math.nan
        if episode.decided == last.episode_step:
            total = episode.total
        known = episode.decided >= WHOLE * last.episode_step and math.isfinite(total)
        if len(episode.policies) == 1 and (known or episode.stopped):
            ((policy, epoch),) = episode.policies
            total = math.nan if episode.stopped else total
            self._outcome(Outcome(policy, epoch, total, last.episode_step))

    def _close(self, terminated: bool) -> None:
        """End the present stretch."""
        episode = self._episode
        if episode.actions:
            stretch = Stretch(
                episode.number,
                episode.acting[0],
                np.stack(episode.observations),
                np.stack(episode.actions),
                np.array(episode.rewards, np.float64),
                terminated,
            )
            episode.observations, episode.actions, episode.rewards = [], [], []
            self._stretch(stretch)


def _objection(before: Observed, sent: Sent | None, after: Observed | None) -> str:
    """Return why there is no transition between two observations; empty if there is one."""
    if after is None:
        return "an observation is missing"
    if sent is None:
        return "no command, or several, for an observation"
    if sent.safe:
        return "the safe action"
    if after.episode_step != before.episode_step + 1:
        return "decisions are missing"
    if not (np.isfinite(before.data).all() and np.isfinite(after.data).all()):
        return "an observation is not finite"
    if not np.isfinite(sent.action).all() or (np.abs(sent.action) > 1 + TOLERANCE).any():
        return "a command outside of the action's range"
    return ""
