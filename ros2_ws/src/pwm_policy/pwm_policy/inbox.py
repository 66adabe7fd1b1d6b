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
    stamp: float = 0.0
    """When it was observed, in seconds of the clock that stamps it; 0: not said."""


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

    def skip(self, decisions: int) -> None:
        """Hear that so many decisions were not made in time, after the observation taken last."""

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
    stamp: float
    """Simulated seconds; the sensors' messages of the same moment have the same."""


class AssemblingInbox(Inbox):
    """Makes an observation of what the sensors said whenever the loop takes one.

    Its steps count decisions, those that were skipped too, or are the simulator's where one tells
    its :class:`Moment`.
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
        self._stamp, self._heard_at = 0.0, 0.0
        self._flags = threading.Lock()
        self._new, self._repeated, self._restarted = False, False, False

    @property
    def ready(self) -> bool:
        """What was heard before it was opened is no reason to speak."""
        return self._count > 0 and not self._assembler.missing()

    @property
    def _paired(self) -> bool:
        """Whether sensors and simulator speak of one moment: topics overtake one another."""
        return self._moment is None or self._moment.stamp == self._stamp

    def heard(self, stamp: float, arrived: float, repeated: bool) -> None:
        """Count a message that may trigger a decision; ``repeated``: it was sent before."""
        with self._flags:
            self._stamp, self._heard_at = stamp, arrived
            self._repeated, self._new = self._repeated or repeated, self._new or not repeated
            paired = self._paired
        if paired:
            self.arrive(arrived)

    def mark(self, moment: Moment) -> None:
        """Note the simulator's present; a message of the sensors that overtook it counts now."""
        with self._flags:
            overtaken = not self._paired
            if self._moment is not None and moment.episode != self._moment.episode:
                self._restarted = True
            self._moment = moment
            overtaken = overtaken and self._paired
        if overtaken:
            self.arrive(self._heard_at)

    def take(self, now: float, again: bool = False) -> Sample:
        with self._flags:
            if self.newest is not None and not self._paired and (self._restarted or again):
                return self.newest  # of the moment before
            again = not self._restarted and (again or (self._repeated and not self._new))
            if self._restarted:
                self._assembler.reset()
            self._new = self._repeated = self._restarted = False
            stamp = self._stamp
        assembled = self._assembler.assemble(now, again)
        if assembled is not None:
            step = self._step_of_decision(again)
            self.newest = Sample(step, assembled.data, assembled.arrived, stamp)
        return self.sample

    def skip(self, decisions: int) -> None:
        self._step += decisions

    def answered(self, command: np.ndarray) -> None:
        self._assembler.acted(command)
        if self._decided is not None:
            self._decided(self.sample)

    def _step_of_decision(self, again: bool) -> int:
        if self._moment is not None:
            return self._moment.step
        if again and self.newest is not None:
            return self.newest.step
        self._step += 1
        return self._step
