# SPDX-License-Identifier: Apache-2.0
"""What was observed, sent and earned, put together: unbroken stretches of episodes. No ROS.

Observations and actions come on two topics, so that either may overtake the other, and both may be
lost. A transition counts once it is certain: both observations and the one command that acted
between them, which was not the safe action. That is the answer to the first of them, or, where the
policy node sent none, the answer before it, which every driver holds. Anything else is a gap, which
no stretch spans.

The return of an episode needs less: all its observations, hence its rewards, and who acted. What a
command was may be open there.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from pwm_core.data.writer import TOLERANCE
from pwm_finetune.commands import Answers, Commands, Sent

SETTLING = 25
"""A transition is decided on so many observations later: by then what was not lost has come."""
LEAP = 1000
"""So many observations may be missing in a row; after more it is another count, of another
publisher say."""
WHOLE = 0.9
"""Part of an episode's decisions of which it has to be known who acted, to say whose return it
is."""

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
    time: int = 0
    """When it was sent, nanoseconds of the commands' clock."""


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
    answered: Answers | None = None
    """What answered the observation before, which acts on until something else comes."""
    heard: int = 0
    """Observations heard of."""
    known: int = 0
    """Decisions of which it is known who acted."""
    decided: int = 0
    """Transitions found, over all stretches."""
    policies: set[tuple[str, int]] = field(default_factory=set)
    """Those that acted, and those for which the safe action acted."""
    total: float = 0.0
    """Rewards of the transitions found."""
    earned: float = 0.0
    """Rewards of the observations heard of; NaN once one is not known."""
    stopped: bool = False
    """Whether the safe action acted."""

    def note(self, answers: Answers) -> None:
        """Note who acted."""
        self.policies |= answers.policies
        self.stopped = self.stopped or answers.safe


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
        self._commands = Commands()
        self._next = 0
        self._newest: int | None = None
        self._episode = _Episode(-1, -1)

    def observe(self, observed: Observed) -> None:
        """Take an observation; a repeated one is ignored."""
        newest = self._newest
        if newest is not None and not -SETTLING <= observed.step - newest <= LEAP:
            self.cut("the observations started anew")
        if observed.step < self._next or observed.step in self._observed:
            return
        if self._newest is None:
            self._begin(observed.step)
        self._observed[observed.step] = observed
        self._newest = max(observed.step, self._newest or 0)
        self._settle(self._newest - SETTLING)

    def _begin(self, step: int) -> None:
        """Begin with observation ``step``; what answered earlier ones counts nowhere."""
        self._next = step
        self._commands.forget_before(step)

    def send(self, sent: Sent) -> None:
        """Take a command."""
        if sent.step >= self._next:
            self._commands.add(sent)
        elif sent.safe:  # too late for its transition: the policy node hears no observations
            self._episode.note(Answers.of(sent))

    def flush(self) -> None:
        """Decide on all that can be: nothing more will come for it."""
        if self._newest is not None:
            self._settle(self._newest)

    def cut(self, reason: str) -> None:
        """Begin anew: what was heard so far and what comes do not belong together."""
        self.flush()
        self._close(False)
        self.gaps[reason] += 1
        self._observed.clear()
        self._commands.clear()
        self._next, self._newest = 0, None
        self._episode = _Episode(-1, self._episode.number)

    def _settle(self, until: int) -> None:
        """Decide on the transitions from observations before number ``until``."""
        while self._next < until:
            step, self._next = self._next, self._next + 1
            before, after = self._observed.pop(step, None), self._observed.get(step + 1)
            answers = self._commands.pop(step)
            if before is not None:
                self._decide(before, answers, after)
            self._episode.answered = answers

    def _decide(self, before: Observed, answers: Answers | None, after: Observed | None) -> None:
        if before.episode != self._episode.robots:
            self._close(False)
            self._episode = _Episode(before.episode, self._episode.number + 1)
        if before.terminated or before.truncated:
            return  # nothing follows it
        episode = self._episode
        episode.heard += 1
        if answers is not None:
            episode.note(answers)
        if after is not None and after.episode != before.episode:
            self._close(False)  # a reset in the middle: no transition was lost
            return
        acted, until = (answers, after) if answers is not None else (self._held(), before)
        episode.known += acted is not None
        if after is not None:
            episode.earned += after.reward
        if objection := _objection(before, acted, until, after):
            self.gaps[objection] += 1
            self._close(False)
        elif acted is not None and after is not None:
            self._add(before, acted.first, after)
        if after is not None and (after.terminated or after.truncated):
            self._end(after)

    def _held(self) -> Answers | None:
        """Return the answers to the observation before, if nothing was sent since.

        For one observation only: longer, and a driver's watchdog may have taken over.
        """
        answered = self._episode.answered
        if answered is None or not self._commands.nothing_since(answered):
            return None
        return answered

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
        episode.total += reward

    def _end(self, last: Observed) -> None:
        episode = self._episode
        self._close(last.terminated)
        whole = episode.heard == last.episode_step
        whole = whole and episode.known >= WHOLE * last.episode_step
        total = self._total(last) if whole and not episode.stopped else math.nan
        if len(episode.policies) == 1 and (math.isfinite(total) or episode.stopped):
            ((policy, epoch),) = episode.policies
            self._outcome(Outcome(policy, epoch, total, last.episode_step))

    def _total(self, last: Observed) -> float:
        """Return what an episode earned whose observations were all heard; NaN if not known."""
        episode = self._episode
        if self._reward is not None:  # which needs the actions
            return episode.total if episode.decided == last.episode_step else math.nan
        return last.total if math.isfinite(last.total) else episode.earned

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


def _objection(
    before: Observed, acted: Answers | None, until: Observed | None, after: Observed | None
) -> str:
    """Return why there is no transition between two observations; empty if there is one.

    What ``acted`` must have been sent before observation ``until``.
    """
    if after is None or until is None:
        return "an observation is missing"
    if acted is None:
        return "no command for an observation"
    if objection := acted.objection(until.time):
        return objection
    action = acted.first.action
    if acted.safe:
        return "the safe action"
    if after.episode_step != before.episode_step + 1:
        return "decisions are missing"
    if not (np.isfinite(before.data).all() and np.isfinite(after.data).all()):
        return "an observation is not finite"
    if not np.isfinite(action).all() or (np.abs(action) > 1 + TOLERANCE).any():
        return "a command outside of the action's range"
    return ""
