# SPDX-License-Identifier: Apache-2.0
"""The control loop: a thread that turns the newest observation into a command. No ROS."""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from pwm_policy.elapsed import Elapsed
from pwm_policy.emergency_stop import EmergencyStop
from pwm_policy.exploration import Exploration
from pwm_policy.following import Following
from pwm_policy.guard import ActionGuard
from pwm_policy.inbox import Inbox, Sample
from pwm_policy.loop_statistics import LoopStatistics
from pwm_policy.phase import PHASE, Phase
from pwm_policy.pose import Pose
from pwm_policy.slot import ActivePolicy, PolicySlot

FRESH_PERIODS = 1.5
"""An observation older than this many control steps is stale: its action is held."""
LANDING_SECONDS = 20.0
"""A loop that ends gives positions with a rate this long at most to reach the safe action."""
STOPPING_SECONDS = 5.0
"""A tick may take this long when a loop is told to end, beside its landing."""
ROUNDING = 1e-6
"""Stamps tell control steps to this part of one."""
OUT_OF_RANGE = 0.05
"""An observation entry this part of its training range outside of it is out of range."""


@dataclass(frozen=True)
class Command:
    """What a tick decided."""

    policy: str
    epoch: int
    sequence: int
    observation_step: int
    values: np.ndarray
    safe: bool


Decision = tuple[ActivePolicy, np.ndarray]
"""An action ``[A]`` and the policy that chose it."""
Moment = tuple[float, float]
"""What a command's rate is counted by: a stamp, 0 for none, and this machine's clock, seconds."""


class Watch(Protocol):
    """Judges what the policy does."""

    @property
    def holds(self) -> bool:
        """Whether only the safe action is left."""
        ...

    def __call__(self, observation: np.ndarray, command: Command, fresh: bool) -> None:
        """See a tick: ``observation [O]``, what was sent for it, whether it was fresh."""
        ...


@dataclass(frozen=True)
class LoopSettings:
    """How the loop is driven."""

    trigger: str
    """``clock`` (absolute deadlines) or ``observation`` (each arrival)."""
    control_step: float
    """Seconds between ticks."""
    stale_timeout: float
    """Age in seconds after which the safe action replaces the held one."""
    exploration_noise: float = 0.0
    """Standard deviation of the noise on actions, as a fraction of their range."""
    exploration_seed: int = 0
    """Seed of that noise."""
    exploring_until: float = math.inf
    """When the noise ends unless it is asked for again, seconds monotonic."""


@dataclass(frozen=True)
class Safeguards:
    """What stands between a policy and the robot."""

    guard: ActionGuard
    """Limits and rates of commands."""
    pose: Pose
    """Where the joints are that the first command must start from."""
    emergency_stop: EmergencyStop
    """While it is latched only the safe action leaves."""
    following: Following | None = None
    """Tells of a joint that is not where it is sent; None: nobody does."""
    watch: Watch | None = None
    """Sees each tick after its command was sent; None: nobody does."""


@dataclass(frozen=True)
class Audience:
    """Who hears of the loop, on its thread."""

    command: Callable[[Command], None]
    """Publishes each command."""
    swapped: Callable[[], None]
    """Hears of the first action after each swap."""
    failed: Callable[[Exception], None]
    """Hears of an exception, which has ended the loop, or did not disturb its landing."""
    stopped: Callable[[str], None]
    """Hears why the loop has latched the emergency stop."""


class ControlLoop(threading.Thread):
    """Ticks until stopped; the last command it publishes is the safe action.

    Commands change by no more than the guard allows, blends between policies included; the first
    from the measured pose. A loop that never came to know its pose never says anything.
    """

    def __init__(
        self,
        settings: LoopSettings,
        slot: PolicySlot,
        inbox: Inbox,
        safeguards: Safeguards,
        audience: Audience,
        statistics: LoopStatistics,
        sequence: int = 0,
    ) -> None:
        """``sequence`` number of the last command of the loop before."""
        super().__init__(name="control_loop", daemon=True)
        self.inbox = inbox
        self.sequence = self._first = sequence
        self._settings, self._slot, self._statistics = settings, slot, statistics
        self._guard, self._pose = safeguards.guard, safeguards.pose
        self._emergency_stop, self._watch = safeguards.emergency_stop, safeguards.watch
        self._following = safeguards.following
        self._found: np.ndarray | None = None
        self._audience = audience
        self._stopped, self._ticked = threading.Event(), threading.Event()
        self._held: Decision | None = None
        self._decided: Sample | None = None
        self._sent, self._placed = self._guard.rest, not self._pose.joints
        self._returning = False
        self._elapsed = Elapsed(settings.control_step)
        self._seen = 0
        self._explore = _exploration(settings)
        self.unmeasured = ""
        """Which joint was not measured any more while the loop landed, and ended its way."""
        self.out_of_range: tuple[str, ...] = ()
        """Entries of the last decision's observation that are outside the training range."""

    @property
    def placed(self) -> bool:
        """Whether it is known where commands count from."""
        return self._placed

    @property
    def has_spoken(self) -> bool:
        """Whether it has published a command."""
        return self.sequence > self._first

    @property
    def landing(self) -> bool:
        """Whether it was told to end, and moves positions to the safe action."""
        return self._stopped.is_set()

    def run(self) -> None:
        try:
            self._wait_for_first()
            while not self._stopped.is_set():
                if self._settings.trigger == "clock":
                    self._run_on_clock()
                else:
                    self._run_on_observations()
        except Exception as error:  # whatever it is, the robot must not keep the last command
            self._audience.failed(error)
        finally:
            self._land()

    def wake(self) -> None:
        """Let a loop that waits for an observation tick at once: the emergency stop was latched."""
        self.inbox.wake()

    def wait_for_tick(self) -> None:
        """Return right after the next tick, or when none comes in twice its time."""
        self._ticked.clear()
        self._ticked.wait(2.0 * self._settings.control_step)

    def drive(self, settings: LoopSettings) -> None:
        """Go on with other settings from the next tick on."""
        if _exploration(settings) != self._explore:
            self._explore = _exploration(settings)
        before, self._settings = self._settings, settings
        patience = settings.trigger, settings.stale_timeout
        if before.trigger == "observation" and patience != (before.trigger, before.stale_timeout):
            self.inbox.wake()

    def stop(self) -> None:
        """End the loop; returns when the safe action has been published.

        ``RuntimeError`` when it has not ended in time: no other may run beside it.
        """
        self._stopped.set()
        self.inbox.close()
        patience = STOPPING_SECONDS + (LANDING_SECONDS if self.landing_seconds else 0.0)
        self.join(timeout=patience)
        if self.is_alive():
            raise RuntimeError(
                f"the control loop did not end within {patience:g} s; end this process"
            )

    @property
    def landing_seconds(self) -> float:
        """How long positions with a rate take from the last command to the safe action."""
        steps = 0.0 if self._at_rest else self._guard.steps_to_safe(self._sent)
        return steps * self._settings.control_step

    @property
    def short_of_safe(self) -> tuple[str, ...]:
        """Actuators whose last command is not the safe one."""
        names = self._slot.acting.bundle.action.names
        rest = self._guard.rest if self.unmeasured else self._rest
        return tuple(names[entry] for entry in np.flatnonzero(self._sent != rest))

    @property
    def _rest(self) -> np.ndarray:
        """The safe action, or where a joint was found that would not go there."""
        return self._guard.rest if self._found is None else self._found

    @property
    def _at_rest(self) -> bool:
        return np.array_equal(self._sent, self._rest)

    def _land(self) -> None:
        """Publish the safe action until every position has reached it or is held where it is.

        Nobody who only looks after the robot may keep it from there.
        """
        if not self._placed:
            return
        end = time.monotonic() + LANDING_SECONDS
        while True:
            now, lost = time.monotonic(), ""
            with self._undisturbed():
                lost = self._look_for_joints(now)
            with self._emergency_stop.leaving():
                self._audience.command(self._safe_command(self.inbox.newest, (0.0, now)))
            if lost:
                with self._undisturbed():
                    self._audience.stopped(lost)
            self._ticked.set()
            if self._at_rest or now > end:
                return
            time.sleep(self._settings.control_step)

    @contextlib.contextmanager
    def _undisturbed(self) -> Iterator[None]:
        """Go on after an exception, without who looks after the joints."""
        try:
            yield
        except Exception as error:  # whatever it is, the robot is on its way
            self._following = None
            self._audience.failed(error)

    def _run_on_clock(self) -> None:
        period = self._settings.control_step
        phase = Phase(period)
        deadline = self.inbox.arrived + PHASE * period
        deadline += _whole_periods(deadline, period) * period
        while not self._stopped.wait(max(0.0, deadline - time.monotonic())):
            if self._settings.trigger != "clock":
                return
            before, self._seen, now = self._seen, self.inbox.count, time.monotonic()
            arrived = self.inbox.arrived
            sample = self.inbox.take(now)
            fresh = now - sample.arrived <= FRESH_PERIODS * period
            self._tick(sample, now, fresh, (0.0, deadline))
            if phase.lost(self._seen - before, now - arrived):
                self._statistics.count("phase_shifts")
                deadline = phase.next_deadline(arrived, time.monotonic())
                continue
            deadline += period
            missed = _whole_periods(deadline, period)
            self._statistics.count("missed_ticks", missed)
            self.inbox.skip(missed)
            deadline += missed * period  # whole periods, so that the phase stays

    def _wait_for_first(self) -> None:
        """Stay silent until there is something to answer and the joints' places are known.

        A robot that is stopped where it stands must not begin to move to its safe pose.
        """
        seen = 0
        while not self._stopped.is_set():
            measured = self._pose.command(time.monotonic() - self._settings.stale_timeout)
            stopped = bool(self._pose.joints) and self._emergency_stop.latched
            if self.inbox.ready and measured is not None and not stopped:
                self._sent, self._placed = measured, True
                if self._following is not None:
                    self._following.restart(time.monotonic())
                return
            seen = self.inbox.wait(seen, 0.5)

    def _run_on_observations(self) -> None:
        """An arrival is fresh however late this thread wakes: lockstep must stay reproducible.

        Of several sensors none may be older than the arrival by more than a stale observation is.
        """
        period = self._settings.control_step
        while True:
            patience = period if self._returning else self._settings.stale_timeout
            arrivals = self.inbox.wait(self._seen, patience)
            if self._stopped.is_set() or self._settings.trigger != "observation":
                return
            now, arrived = time.monotonic(), arrivals > self._seen
            sample = self.inbox.take(now, again=not arrived)
            lag = self.inbox.arrived - sample.arrived
            fresh = arrived and lag <= FRESH_PERIODS * period
            self._tick(sample, now, fresh, (sample.stamp, now))
            self._seen = arrivals

    def _tick(self, sample: Sample, now: float, fresh: bool, moment: Moment) -> None:
        self._statistics.tick(now)
        lost = self._look_for_joints(now)
        held = self._watch is not None and self._watch.holds
        stopped = held or self._emergency_stop.latched
        decision = None if stopped else self._decide(sample, now, fresh, moment)
        with self._emergency_stop.leaving() as latched:
            self._held = None if latched else decision
            if self._held is None:
                command = self._safe_command(sample, moment)
            else:
                decided_by, values = self._held
                command = self._command(decided_by, sample, values, safe=False)
            self._audience.command(command)
        self._returning = command.safe and not self._at_rest
        self.inbox.answered(command.values)
        if self._held is not None and self._slot.acted(decided_by, command.values):
            self._audience.swapped()
        if self._watch is not None:
            self._watch(sample.data, command, fresh)
        if lost:
            self._audience.stopped(lost)
        self._ticked.set()

    def _look_for_joints(self, now: float) -> str:
        """Hold the robot where it is when a joint is lost; return why, if that is latched.

        While it lands, one that is not measured any more latches nothing: who measures may have
        been told to end too.
        """
        if self._following is None:
            return ""
        if self._found is not None:
            if not self._emergency_stop.latched:
                self._found = None
                self._following.restart(now)
            return ""
        lost = self._following.lost(self._sent, now)
        if lost is None:
            return ""
        fresh = now - self._settings.stale_timeout
        measured = self._pose.command(fresh) if lost.measured else None
        self._found = self._guard.held(self._sent if measured is None else measured)
        if self.landing and not lost.measured:
            self.unmeasured = lost.reason
            return ""
        self._emergency_stop.latch(lost.reason)
        return lost.reason

    def _decide(self, sample: Sample, now: float, fresh: bool, moment: Moment) -> Decision | None:
        """Return what to do about ``sample``, or None when only the safe action is left."""
        if not fresh:
            self._statistics.count("stale_inputs")
            return self._held if now - sample.arrived <= self._settings.stale_timeout else None
        policy = self._slot.acting
        repeated, self._decided = self._is_decided(sample), sample
        if repeated and self._held is not None and self._held[0] is policy:
            return self._held
        started = time.perf_counter()
        action = policy.act(sample.data, now)
        self._statistics.inference(time.perf_counter() - started)
        self._compare_with_training(policy, sample.data)
        if not np.isfinite(action).all():
            self._statistics.count("invalid_outputs")
            return None
        if now <= self._settings.exploring_until:
            action = self._explore(action, self._guard)
        limited = self._guard.limit(action, self._sent, self._part_of_step(moment))
        if limited.clipped:
            self._statistics.count("limited_actions")
        if limited.slowed:
            self._statistics.count("rate_limited_actions")
        return policy, limited.values

    def _is_decided(self, sample: Sample) -> bool:
        """Whether a simulation that waits has said ``sample`` again: one answer of two acts there,
        so that noise, and a change at a rate, must be the same in both.
        """
        last = self._decided
        return (
            self._settings.trigger == "observation"
            and last is not None
            and sample.stamp > 0.0
            and (sample.step, sample.stamp) == (last.step, last.stamp)
            and np.array_equal(sample.data, last.data)
        )

    def _part_of_step(self, moment: Moment) -> float:
        """Return how much of a control step has passed since the last that was asked for.

        Above 0 to 1. Commands that are merely held ask for none.
        """
        passed = self._elapsed.since_last(*moment) / self._settings.control_step
        return 1.0 if passed > 1.0 - ROUNDING else max(passed, ROUNDING)

    def _compare_with_training(self, policy: ActivePolicy, observation: np.ndarray) -> None:
        """Note what the policy never saw; it goes on, for it may well cope."""
        known = policy.bundle.observation_range
        if known is None:
            self.out_of_range = ()
            return
        outside = np.flatnonzero(known.excess(observation) > OUT_OF_RANGE)
        self.out_of_range = tuple(policy.bundle.observation.names[entry] for entry in outside)
        if self.out_of_range:
            self._statistics.count("out_of_range_inputs")

    def _safe_command(self, sample: Sample | None, moment: Moment) -> Command:
        self._statistics.count("safe_actions")
        values = self._found
        if values is None:
            values = self._guard.towards_safe(self._sent, self._part_of_step(moment))
        return self._command(self._slot.acting, sample, values, safe=True)

    def _command(
        self, policy: ActivePolicy, sample: Sample | None, values: np.ndarray, safe: bool
    ) -> Command:
        self.sequence += 1
        self._sent = values
        step = sample.step if sample else 0
        return Command(policy.name, policy.epoch, self.sequence, step, values, safe)


def _exploration(settings: LoopSettings) -> Exploration:
    return Exploration(settings.exploration_noise, settings.exploration_seed)


def _whole_periods(deadline: float, period: float) -> int:
    """Return how many whole periods ago ``deadline`` was."""
    return int(max(0.0, time.monotonic() - deadline) // period)
