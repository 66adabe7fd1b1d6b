# SPDX-License-Identifier: Apache-2.0
"""Which command acted between two observations, as far as messages tell. No ROS."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

MOST = 1000
"""Answers that are kept at most: of where no observation comes, the last ones are enough."""


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
    sequence: int
    """Counts commands, so that one that was lost leaves a hole."""
    time: int
    """When it was sent, nanoseconds of the observations' clock."""


@dataclass
class Answers:
    """All commands that answer one observation.

    Two clocks that drift see an observation twice, and the next but one then. In real time every
    answer acts, in lockstep the first one alone.
    """

    first: Sent
    last: Sent
    alike: bool = True
    """Whether all are the same."""
    safe: bool = False
    """Whether the safe action is among them."""
    policies: set[tuple[str, int]] = field(default_factory=set)
    """Policies and epochs that they are of."""

    @classmethod
    def of(cls, sent: Sent) -> Answers:
        """Return a single command as the answer."""
        return cls(sent, sent, True, sent.safe, {(sent.policy, sent.epoch)})

    def add(self, sent: Sent) -> None:
        """Take another answer to the same observation."""
        first, self.last = self.first, sent
        same = np.array_equal(first.action, sent.action) and first.safe == sent.safe
        self.alike = self.alike and same
        self.safe = self.safe or sent.safe
        self.policies.add((sent.policy, sent.epoch))

    def objection(self, until: int) -> str:
        """Return why it is not certain which command acted; empty if it is.

        It had to be sent ``until`` then.
        """
        if not self.alike:
            return "different commands for an observation"
        return "a command was sent after the next observation" if self.first.time > until else ""


class Commands:
    """The commands of observations that are still to be decided on."""

    def __init__(self) -> None:
        self._answers: dict[int, Answers] = {}

    def add(self, sent: Sent) -> None:
        """Take a command."""
        if sent.step in self._answers:
            self._answers[sent.step].add(sent)
        else:
            self._answers[sent.step] = Answers.of(sent)
        if len(self._answers) > MOST:
            del self._answers[next(iter(self._answers))]  # which came first

    def pop(self, step: int) -> Answers | None:
        """Return what answered observation ``step``, the first not decided on, and forget it."""
        return self._answers.pop(step, None)

    def forget_before(self, step: int) -> None:
        """Forget what answered observations before ``step``."""
        self._answers = {s: answers for s, answers in self._answers.items() if s >= step}

    def nothing_since(self, answers: Answers) -> bool:
        """Whether the policy node sent nothing between these answers and the next ones heard of."""
        following = self._answers.get(min(self._answers, default=-1))
        return following is not None and following.first.sequence == answers.last.sequence + 1

    def clear(self) -> None:
        """Forget all."""
        self._answers.clear()
