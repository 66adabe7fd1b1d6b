# SPDX-License-Identifier: Apache-2.0
"""The thread that moves a world: in lockstep with commands, beside the wall clock, or not."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import Protocol

from pwm_mujoco.pacing import Pacer, RealTimeFactor
from pwm_mujoco.world import World

REPEAT_SECONDS = 0.05
"""A waiting world repeats what it last said this often, so that no lost message can hang it."""


class Audience(Protocol):
    """Who hears what a world does; called with the world's lock held."""

    def decided(self) -> None:
        """A decision, or an episode's first observation, is complete."""

    def stepped(self) -> None:
        """A simulator step within a decision is done."""

    def waiting(self) -> None:
        """Nothing has changed for :data:`REPEAT_SECONDS`."""

    def diverged(self) -> None:
        """The physics diverged: ``world.fault`` says how."""


@dataclass(frozen=True)
class SteppingSettings:
    """How the world moves."""

    mode: str
    """``lockstep``, ``realtime`` or ``paused``."""
    real_time_factor: float
    """Simulated seconds per wall second in ``realtime``."""
    auto_reset: bool
    """Start the next episode when one has ended."""
    time_limit: bool
    """End an episode after the task's number of decisions."""
    command_timeout: float = 0.0
    """Simulated seconds without a command after which the safe action acts in ``realtime``; 0:
    never."""


class Stepping(threading.Thread):
    """Moves ``world`` and tells its ``audience``; others change either with ``changed`` held."""

    def __init__(self, world: World, audience: Audience, settings: SteppingSettings) -> None:
        super().__init__(name="physics", daemon=True)
        self.changed = threading.Condition(threading.RLock())
        self.pacer, self._factor = Pacer(), RealTimeFactor()
        self.settings = settings
        self._world, self._audience = world, audience
        self._stopping = False

    def configure(self, settings: SteppingSettings) -> None:
        """Move by other settings from now on."""
        with self.changed:
            self.settings = settings
            self.pacer.restart()
            self.changed.notify_all()

    def achieved_factor(self) -> float:
        """Return simulated per wall seconds since the last call; 0 at the first."""
        with self.changed:
            return self._factor.read(self._world.time)

    def stop(self) -> None:
        """End the thread."""
        with self.changed:
            self._stopping = True
            self.changed.notify_all()
        self.join(timeout=5.0)

    def run(self) -> None:
        turns = {"lockstep": self._lockstep_turn, "realtime": self._realtime_turn}
        self.achieved_factor()
        with self.changed:
            self._audience.decided()
            while not self._stopping:
                mode = self.settings.mode
                if self._world.fault is not None:
                    self._wait()
                elif self._world.ended and self.settings.auto_reset and self._end_is_answered():
                    self._world.reset()
                    self._audience.decided()
                elif mode == "paused" or (self._world.ended and mode == "realtime"):
                    self._wait()
                else:
                    turns[mode]()

    def decide(self) -> None:
        """Advance to the end of a decision; ``changed`` is held."""
        self._world.decide(self.settings.time_limit)
        self._tell(complete=True)

    def _end_is_answered(self) -> bool:
        """In lockstep the end of an episode stays until the policy has seen it."""
        mode = self.settings.mode
        return mode == "realtime" or (mode == "lockstep" and self._world.answered)

    def _wait(self) -> None:
        """Wait for a change; repeat what was said, for those who joined late or missed it."""
        self.pacer.idle()
        if not self.changed.wait(REPEAT_SECONDS) and self._world.fault is None:
            self._audience.waiting()

    def _lockstep_turn(self) -> None:
        if not self._world.answered or self._world.ended:
            self._wait()
            return
        self.decide()

    def _realtime_turn(self) -> None:
        factor, world = self.settings.real_time_factor, self._world
        delay = self.pacer.delay(world.substep_seconds / factor, world.task.control_step / factor)
        self.changed.release()
        try:
            time.sleep(delay)
        finally:
            self.changed.acquire()
        if self.settings.mode != "realtime" or world.halted:
            return  # changed while asleep
        if self.settings.command_timeout:
            world.withdraw(self.settings.command_timeout)
        self._tell(complete=world.substep(self.settings.time_limit))

    def _tell(self, complete: bool) -> None:
        if self._world.fault is not None:
            self._audience.diverged()
        elif complete:
            self._audience.decided()
        else:
            self._audience.stepped()
