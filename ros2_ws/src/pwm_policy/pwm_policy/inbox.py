# SPDX-License-Identifier: Apache-2.0
"""Where observations wait for the control loop: the executor puts, the loop takes. No ROS."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from pwm_policy.assembly import Assembler


@dataclass(frozen=True)
class Sample:
    """One observation that passed the guard."""

    step: int
    data: np.ndarray
    arrived: float
    """Seconds, monotonic."""


class Inbox:
    """Holds the newest observation."""

    def __init__(self) -> None:
        self._arrival = threading.Condition()
        self._closed = self._woken = False
        self._count = 0
        self.newest: Sample | None = None
        self.arrived = 0.0
        """When the newest message arrived that a loop may wait for, seconds monotonic."""

    @property
    def sample(self) -> Sample:
        """The newest observation of an inbox that is known to hold one."""
        assert self.newest is not None
        return self.newest

    @property
    def count(self) -> int:
        """How many messages arrived that a loop may wait for."""
        return self._count

    @property
    def ready(self) -> bool:
        """Whether there is something to take."""
        return self.newest is not None

    def take(self, now: float, again: bool = False) -> Sample:
        """Return the observation to decide on at ``now``; ``again`` if it was decided on before."""
        return self.sample

    def answered(self, command: np.ndarray) -> None:
        """Hear which command ``[A]`` was sent for the observation taken last."""

    def put(self, sample: Sample) -> None:
        """Replace the newest observation."""
        self.newest = sample
        self.arrive(sample.arrived)

    def arrive(self, arrived: float) -> None:
        """Wake who waits for an arrival."""
        with self._arrival:
            self.arrived = arrived
            self._count += 1
            self._arrival.notify_all()

    def close(self) -> None:
        """Wake every waiter for good."""
        with self._arrival:
            self._closed = True
            self._arrival.notify_all()

    def wake(self) -> None:
        """End one wait, the present or the next one, without an arrival."""
        with self._arrival:
            self._woken = True
            self._arrival.notify_all()

    def wait(self, seen: int, timeout: float) -> int:
        """Wait for an arrival after number ``seen``; return the number of the newest."""
        with self._arrival:
            self._arrival.wait_for(
                lambda: self._closed or self._woken or self._count > seen, timeout
            )
            self._woken = False
            return self._count


@dataclass(frozen=True)
class Moment:
    """What a simulator says of its present."""

    step: int
    episode: int


class AssemblingInbox(Inbox):
    """Makes an observation of what the sensors said whenever the loop takes one.

    Its steps count decisions, or are the simulator's where one tells its :class:`Moment`.
    ``decided`` hears of every observation once a command has answered it.
    """

    def __init__(
        self, assembler: Assembler, step: int = 0, decided: Callable[[Sample], None] | None = None
    ) -> None:
        super().__init__()
        self._assembler, self._decided = assembler, decided
        assembler.reset()
        self._step = step
        self._moment: Moment | None = None
        self._new, self._repeated, self._restarted = False, False, False

    @property
    def ready(self) -> bool:
        """What was heard before it was opened is no reason to speak."""
        return self._count > 0 and not self._assembler.missing()

    def heard(self, arrived: float, repeated: bool) -> None:
        """Count a message that may trigger a decision; ``repeated``: it was sent before."""
        if repeated and not self._restarted:
            self._repeated = True
        else:
            self._new = True  # a reset takes no time: the same stamp may be of a new episode
        self.arrive(arrived)

    def mark(self, moment: Moment) -> None:
        """Note the simulator's present; in a new episode the sensors speak next."""
        if self._moment is not None and moment.episode != self._moment.episode:
            self._restarted, self._new = True, False
        self._moment = moment

    def take(self, now: float, again: bool = False) -> Sample:
        if self._restarted and self.newest is not None:
            if not self._new and not again:
                return self.newest  # of the episode before
            self._assembler.reset()
            again = False
        again = again or (self._repeated and not self._new)
        self._new = self._repeated = self._restarted = False
        assembled = self._assembler.assemble(now, again)
        if assembled is not None:
            self._step = self._next_step(again)
            self.newest = Sample(self._step, assembled.data, assembled.arrived)
        return self.sample

    def answered(self, command: np.ndarray) -> None:
        self._assembler.acted(command)
        if self._decided is not None:
            self._decided(self.sample)

    def _next_step(self, again: bool) -> int:
        if self._moment is not None:
            return self._moment.step
        return self._step if again and self.newest is not None else self._step + 1
