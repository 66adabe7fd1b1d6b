# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from pwm_core.layout import ActionLayout
from pwm_core.tasks import get_task
from pwm_export.bundle import Bundle
from pwm_policy.emergency_stop import EmergencyStop
from pwm_policy.following import Following
from pwm_policy.guard import ActionGuard
from pwm_policy.inbox import Inbox, Sample
from pwm_policy.loop import (
    Audience,
    Command,
    ControlLoop,
    LoopSettings,
    Safeguards,
)
from pwm_policy.loop_statistics import LoopStatistics
from pwm_policy.phase import FAR, PHASE, TICKS
from pwm_policy.pose import Pose
from pwm_policy.slot import PolicySlot

ACTION = get_task("cartpole-balance").action
CONTROL_STEP = 0.02


class Watched:
    """Remembers what it sees; holds the policy when told to."""

    def __init__(self) -> None:
        self.holds = False
        self.ticks: list[tuple[float, float, bool]] = []

    def __call__(self, observation: np.ndarray, command: Command, fresh: bool) -> None:
        self.ticks.append((float(observation[0]), float(command.values[0]), fresh))


class Clock(threading.Event):
    """Time that passes only where the loop waits for its deadline: no machine makes it late."""

    now = 1000.0

    def wait(self, timeout: float | None = None) -> bool:
        self.now += timeout or 0.0
        return super().wait(0.001)


class Delivering(Clock):
    """Time in which observations come at moments of their own, while the loop waits."""

    def __init__(self, arrivals: Iterator[float]) -> None:
        super().__init__()
        self._arrivals, self._began = arrivals, self.now
        self._next, self._number = next(arrivals), 1
        self.put: Callable[[int], None] = lambda number: None

    def wait(self, timeout: float | None = None) -> bool:
        """``arrivals`` are in control steps from the beginning."""
        end = self.now + (timeout or 0.0)
        while (due := self._began + CONTROL_STEP * self._next) <= end:
            self.now = due
            self.put(self._number)
            self._next, self._number = next(self._arrivals), self._number + 1
        self.now = end
        return super().wait()


class Rig:
    """A loop whose commands are collected."""

    def __init__(
        self,
        bundle: Bundle,
        trigger: str,
        stale_timeout: float,
        action: ActionLayout,
        clock: Clock | None,
        following: tuple[float, float] | None,
    ) -> None:
        self.slot, self.statistics = PolicySlot(), LoopStatistics()
        self.slot.start(bundle.name, bundle)
        self.commands: list[Command] = []
        self.failures: list[Exception] = []
        self.lost: list[str] = []
        self.swaps = 0
        self.emergency_stop = EmergencyStop()
        self.watch = Watched()
        self.pose = Pose(action)
        self._grown = threading.Condition()
        self.emit = self._collect
        """Publishes a command; a test may put something before it."""
        self.loop = ControlLoop(
            LoopSettings(trigger, CONTROL_STEP, stale_timeout),
            self.slot,
            Inbox(),
            Safeguards(
                ActionGuard(action, CONTROL_STEP),
                self.pose,
                self.emergency_stop,
                Following(self.pose, *following) if following else None,
                self.watch,
            ),
            Audience(
                lambda command: self.emit(command),
                self._swapped,
                self.failures.append,
                self.lost.append,
            ),
            self.statistics,
        )
        if clock is not None:
            self.loop._stopped = clock
        self.loop.start()

    def _collect(self, command: Command) -> None:
        with self._grown:
            self.commands.append(command)
            self._grown.notify_all()

    def _swapped(self) -> None:
        self.swaps += 1

    def put(self, step: int, value: float = 1.0, stamp: float | None = None) -> None:
        """Put an observation, stamped a control step after the one before unless said otherwise."""
        data = np.array([value, 0, 0, 0, 0], np.float32)
        stamp = CONTROL_STEP * step if stamp is None else stamp
        self.loop.inbox.put(Sample(step, data, time.monotonic(), stamp))

    def measure(self, position: float) -> None:
        """Say where the joint is."""
        self.pose.hear({(ACTION.channels[0].joint, "position"): position}, time.monotonic())

    def wait(self, condition: Callable[[Command], bool]) -> Command:
        """Return the first command that fits."""

        def found() -> Command | None:
            return next((c for c in self.commands if condition(c)), None)

        with self._grown:
            command = self._grown.wait_for(found, timeout=60)
            assert command, self.commands
            return command

    def wait_for_epoch(self, epoch: int) -> None:
        """Put observations until a command of that epoch: the first may have met the old policy."""
        self.put_until(self.loop.sequence + 1000, lambda c: c.epoch == epoch)

    def put_until(self, step: int, condition: Callable[[Command], bool]) -> Command:
        """Put observations from ``step`` on until a command fits: a busy machine lets some get
        stale.
        """
        for number in range(step, step + 200):
            count = len(self.commands)
            self.put(number)
            self.wait(lambda c, count=count: len(self.commands) > count)  # type: ignore[misc]
            if any(condition(c) for c in self.commands):
                return self.wait(condition)
        raise AssertionError(self.commands)


@pytest.fixture
def start() -> Iterator[Callable[..., Rig]]:
    rigs: list[Rig] = []

    def make(
        bundle: Bundle,
        trigger: str = "observation",
        stale_timeout: float = 30.0,
        clock: Clock | None = None,
        following: tuple[float, float] | None = None,
        **changes: Any,
    ) -> Rig:
        """``changes`` of the actuator's contract; ``following``: limit and patience."""
        action = ActionLayout((replace(ACTION.channels[0], **changes),))
        rigs.append(Rig(bundle, trigger, stale_timeout, action, clock, following))
        return rigs[-1]

    yield make
    for rig in rigs:
        rig.loop.stop()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The time of everything but locks."""
    clock = Clock()
    monkeypatch.setattr(time, "monotonic", lambda: clock.now)
    return clock


@pytest.fixture
def right(make_bundle) -> Bundle:
    return Bundle.load(make_bundle("right", (20.0, 0, 0, 0, 0)))


def test_each_observation_is_answered_once(start, right: Bundle) -> None:
    rig = start(right)
    for step in (1, 2, 3):
        rig.put(step)
        command = rig.wait(lambda c, step=step: c.observation_step == step)
        assert not command.safe
        assert command.values == pytest.approx([1.0])
    assert [c.sequence for c in rig.commands] == [1, 2, 3]


def test_nothing_is_said_before_the_first_observation(start, right: Bundle) -> None:
    rig = start(right, "clock")
    assert not rig.commands
    rig.put(1)
    rig.wait(lambda c: c.observation_step == 1)


def test_the_last_word_is_the_safe_action(start, right: Bundle) -> None:
    rig = start(right)
    rig.put(1)
    rig.wait(lambda c: not c.safe)
    rig.loop.stop()
    assert rig.commands[-1].safe
    assert rig.commands[-1].values == pytest.approx(ACTION.safe)


def test_a_stale_observation_is_held_then_made_safe(start, right: Bundle, clock: Clock) -> None:
    rig = start(right, "clock", stale_timeout=0.3, clock=clock)
    rig.put(1)
    safe = rig.wait(lambda c: c.safe)
    held = rig.commands[: safe.sequence - 1]
    assert len(held) == 15, "of 0.02 s each"
    assert {float(c.values[0]) for c in held} == {1.0}
    assert rig.statistics.snapshot()["stale_inputs"] >= len(held) - 1
    step = safe.observation_step
    rig.put_until(step + 1, lambda c: c.observation_step > step and not c.safe)


def test_an_output_that_is_not_finite_becomes_safe(start, make_bundle) -> None:
    rig = start(Bundle.load(make_bundle("roots", (1.0, 0, 0, 0, 0), square_root=True)))
    rig.put(1, value=-1.0)
    command = rig.wait(lambda c: c.observation_step == 1)
    assert command.safe
    assert command.values == pytest.approx(ACTION.safe)
    assert rig.statistics.snapshot()["invalid_outputs"] == 1


def test_emergency_stop_is_safe_until_released(start, right: Bundle) -> None:
    rig = start(right)
    rig.emergency_stop.latch()
    rig.put(1)
    assert rig.wait(lambda c: c.observation_step == 1).safe
    rig.emergency_stop.release()
    rig.put(2)
    assert not rig.wait(lambda c: c.observation_step == 2).safe


def test_a_swap_acts_from_the_next_tick(start, right: Bundle, make_bundle) -> None:
    rig = start(right)
    rig.put(1)
    rig.wait(lambda c: c.observation_step == 1)
    swapped = rig.slot.swap("left", Bundle.load(make_bundle("left", (-20.0, 0, 0, 0, 0))))
    rig.put(2)
    command = rig.wait(lambda c: c.observation_step == 2)
    assert (command.policy, command.epoch) == ("left", swapped.epoch)
    assert command.values == pytest.approx([-1.0])
    rig.loop.stop()
    assert rig.swaps == 1


def test_a_held_action_keeps_the_name_of_its_policy(start, right: Bundle, make_bundle) -> None:
    rig = start(right, "clock")
    first = rig.put_until(1, lambda c: not c.safe)
    left = Bundle.load(make_bundle("left", (-20.0, 0, 0, 0, 0)))
    for _ in range(3):  # by now the observation is stale
        count = len(rig.commands)
        rig.wait(lambda c, count=count: len(rig.commands) > count)
    rig.slot.swap("left", left)
    count = len(rig.commands)
    rig.wait(lambda c: len(rig.commands) > count + 1)
    since = [c for c in rig.commands if c.sequence >= first.sequence]
    assert {(c.policy, float(c.values[0])) for c in since} == {("right", 1.0)}
    swapped = rig.put_until(first.observation_step + 1, lambda c: c.policy == "left")
    assert swapped.values == pytest.approx([-1.0])


def test_a_failure_ends_with_the_safe_action(start, right: Bundle) -> None:
    rig = start(right)
    rig.put(1)
    rig.wait(lambda c: c.observation_step == 1)
    rig.loop.inbox.put(Sample(2, np.zeros(3, np.float32), time.monotonic()))
    assert rig.wait(lambda c: c.observation_step == 2).safe
    rig.loop.join(timeout=60)
    assert len(rig.failures) == 1
    assert rig.commands[-1].safe


def test_missed_ticks_are_counted_and_keep_the_phase(start, right: Bundle, clock: Clock) -> None:
    rig = start(right, "clock", clock=clock)
    emit, ticks, period = rig.emit, [], 0.02

    def slow_once(command: Command) -> None:
        ticks.append(clock.now)
        if len(ticks) == 3:
            clock.now += 5.5 * period
        emit(command)

    rig.emit = slow_once
    arrived = clock.now
    rig.put(1)
    rig.wait(lambda c: c.sequence == 6)
    rig.loop.stop()
    assert rig.statistics.snapshot()["missed_ticks"] == 4
    periods = (np.array(ticks[:6]) - arrived) / period
    np.testing.assert_allclose(periods - PHASE, [0, 1, 2, 7.5, 8, 9], atol=1e-6)


def delivered(
    start: Callable[..., Rig],
    bundle: Bundle,
    monkeypatch: pytest.MonkeyPatch,
    arrivals: Iterator[float],
    ticks: int,
) -> tuple[Rig, np.ndarray]:
    """Let a loop on the clock see ``arrivals``; return when its ticks were, in control steps."""
    clock, moments = Delivering(arrivals), []
    began = clock.now
    monkeypatch.setattr(time, "monotonic", lambda: clock.now)
    rig = start(bundle, "clock", clock=clock)
    emit, done = rig.emit, threading.Event()

    def noted(command: Command) -> None:
        if len(moments) == ticks:
            done.set()
        else:
            moments.append(clock.now)
            emit(command)

    rig.emit = noted
    rig.put(0)
    clock.put = rig.put
    assert done.wait(60)
    rig.loop.stop()
    return rig, (np.array(moments) - began) / CONTROL_STEP


@pytest.mark.parametrize(("pause", "interval"), [(0.3, 0.3), (0.16, 0.16), (0.12, 1.12)])
def test_ticks_follow_observations_that_have_moved(
    start, right: Bundle, monkeypatch, pause: float, interval: float
) -> None:
    """A sensor that pauses for 0.3 of a control step would be answered late for good.

    Those that arrive just after a tick wait for the next one, those just before it may miss it.
    """
    arrivals = (k if k < 10 else k + pause for k in itertools.count(1))
    rig, moments = delivered(start, right, monkeypatch, arrivals, 3 * TICKS)
    counts = rig.statistics.snapshot()
    assert (counts["phase_shifts"], counts["missed_ticks"]) == (1, 0)
    steps = np.array([c.observation_step for c in rig.commands])
    shift = int(np.argmax(np.abs(np.diff(moments) - 1)))
    np.testing.assert_allclose(np.diff(moments)[[0, shift, -1]], [1, interval, 1], atol=1e-6)
    np.testing.assert_allclose(moments[shift + 1 :] - steps[shift + 1 :] - pause, PHASE, atol=1e-6)
    assert np.all(np.diff(steps[shift:]) == 1)
    assert shift in (TICKS - 1, 2 * TICKS - 1)


@pytest.mark.parametrize(
    "arrivals",
    [
        lambda: (k + 0.1 * (k % 2) - 0.05 for k in itertools.count(1)),
        lambda: (k + PHASE - 0.9 * FAR for k in itertools.count(1)),
        lambda: (2.0 * k + 0.3 for k in itertools.count(1)),
        lambda: (0.3 * k for k in itertools.count(1)),
        lambda: (0.05 * k for k in itertools.count(1)),
        lambda: (1.02 * k for k in itertools.count(1)),
    ],
    ids=["jitter", "within bounds", "slower", "faster", "much faster", "another rate"],
)
def test_ticks_stay_where_observations_are_near_or_have_no_phase(
    start, right: Bundle, monkeypatch, arrivals: Callable[[], Iterator[float]]
) -> None:
    rig, moments = delivered(start, right, monkeypatch, arrivals(), 3 * TICKS)
    assert rig.statistics.snapshot()["phase_shifts"] == 0
    np.testing.assert_allclose(np.diff(moments), 1, atol=1e-6)


def test_each_tick_is_watched_with_the_command_that_was_sent(start, right: Bundle) -> None:
    rig = start(right)
    for step, value in ((1, 1.0), (2, -1.0)):
        rig.put(step, value)
        rig.wait(lambda c, step=step: c.observation_step == step)
    rig.emergency_stop.latch()
    rig.put(3, 0.5)
    rig.wait(lambda c: c.observation_step == 3)
    rig.loop.stop()
    safe = float(ACTION.safe[0])
    assert rig.watch.ticks == [(1.0, 1.0, True), (-1.0, -1.0, True), (0.5, safe, True)]


def test_a_watch_that_holds_leaves_only_the_safe_action(start, right: Bundle) -> None:
    rig = start(right)
    rig.put(1)
    assert not rig.wait(lambda c: c.observation_step == 1).safe
    rig.watch.holds = True
    rig.put(2)
    held = rig.wait(lambda c: c.observation_step == 2)
    assert held.safe
    np.testing.assert_array_equal(held.values, ACTION.safe)
    rig.watch.holds = False
    rig.put(3)
    assert not rig.wait(lambda c: c.observation_step == 3).safe


RATE = 6.25
STEP = RATE * 0.02
"""What a command may change by from one to the next; exact in binary."""


def jumps(commands: list[Command], before: float) -> np.ndarray:
    """Return the changes from one command to the next, the first from ``before``."""
    return np.abs(np.diff([before, *(float(c.values[0]) for c in commands)]))


def test_the_first_effort_comes_from_the_safe_action_at_the_rate(start, right: Bundle) -> None:
    rig = start(right, rate=RATE)
    for step in range(1, 13):
        rig.put(step)
        rig.wait(lambda c, step=step: c.observation_step == step)
    first = [float(c.values[0]) for c in rig.commands[:3]]
    assert first == pytest.approx([STEP, 2 * STEP, 3 * STEP])
    assert rig.commands[-1].values == pytest.approx([1.0])
    assert rig.statistics.snapshot()["rate_limited_actions"] >= 7


@pytest.mark.parametrize("blend_seconds", [0.0, 0.05, 30.0])
def test_no_swap_jumps_by_more_than_the_rate(
    start, right: Bundle, make_bundle, blend_seconds: float
) -> None:
    rig = start(right, rate=RATE)
    left = Bundle.load(make_bundle("left", (-20.0, 0, 0, 0, 0)))
    for step in range(1, 61):
        if step % 15 == 0:
            swapped_to = left if step % 30 else right
            rig.slot.swap(swapped_to.name, swapped_to, blend_seconds)
        rig.put(step)
        rig.wait(lambda c, step=step: c.observation_step == step)
    assert {c.policy for c in rig.commands} == {"left", "right"}
    assert 0.5 * STEP < jumps(rig.commands, 0.0).max() <= STEP + 1e-9


@pytest.mark.parametrize("interpretation", ["effort", "position"])
@pytest.mark.parametrize("stamps", ["none", "one", "of the time", "of two clocks"])
def test_a_fast_publisher_does_not_raise_the_rate(
    start, right: Bundle, stamps: str, interpretation: str
) -> None:
    """The rate bounds change per time, however many observations tell of it."""
    rig = start(right, rate=RATE, interpretation=interpretation)
    rig.measure(0.0)
    rig.put(1, stamp=0.0 if stamps == "none" else 1.0)
    began = time.monotonic()
    first = rig.wait(lambda c: c.sequence == 1)
    for number in range(2, 102):
        passed = time.monotonic() - began
        count = len(rig.commands)
        if number == 50:
            rig.emergency_stop.latch()  # nor does the safe action of a position come faster
        rig.put(
            number,
            stamp={
                "none": 0.0,
                "one": 1.0,
                "of the time": 1.0 + passed,
                "of two clocks": 1.0 + passed + 1000.0 * (number % 2),
            }[stamps],
        )
        rig.wait(lambda c, count=count: len(rig.commands) > count)
        policies = [c for c in rig.commands if not c.safe or interpretation == "position"]
        moved = jumps(policies[1:], float(first.values[0])).sum()
        assert moved <= STEP + RATE * (time.monotonic() - began)


def test_a_command_that_is_held_takes_no_time_from_the_next(start, right: Bundle) -> None:
    """A slow simulator's episode is that of a fast one."""
    rig = start(right, rate=RATE)
    rig.put(1)
    rig.wait(lambda c: c.sequence == 1)
    rig.loop.wake()
    assert rig.wait(lambda c: c.sequence == 2).values == pytest.approx([STEP])
    rig.put(2)
    assert rig.wait(lambda c: c.sequence == 3).values == pytest.approx([2 * STEP])


def test_simulated_time_counts_however_fast_it_passes(start, right: Bundle) -> None:
    rig = start(right, rate=RATE)
    for step in range(1, 9):
        rig.put(step)
        rig.wait(lambda c, step=step: c.observation_step == step)
    assert rig.commands[7].values == pytest.approx([1.0]), "eight control steps, at once"


def test_an_effort_is_safe_at_once_whatever_its_rate(start, right: Bundle) -> None:
    rig = start(right, rate=RATE)
    for step in range(1, 6):
        rig.put(step)
        rig.wait(lambda c, step=step: c.observation_step == step)
    rig.emergency_stop.latch()
    rig.put(6)
    stopped = rig.wait(lambda c: c.observation_step == 6)
    assert (stopped.safe, float(stopped.values[0])) == (True, 0.0)
    rig.emergency_stop.release()
    rig.put(7)
    released = rig.wait(lambda c: c.observation_step == 7)
    assert released.values == pytest.approx([STEP]), "from the safe action on, at the rate"


def test_a_latched_stop_acts_though_no_observation_ever_comes(start, right: Bundle) -> None:
    rig = start(right, stale_timeout=3600.0)
    rig.put(1)
    rig.wait(lambda c: c.observation_step == 1)
    rig.emergency_stop.latch()
    rig.loop.wake()
    stopped = rig.wait(lambda c: c.sequence == 2)
    assert (stopped.safe, stopped.observation_step) == (True, 1)
    assert stopped.values == pytest.approx(ACTION.safe)
    figures = rig.statistics.snapshot()
    assert (figures["ticks"], figures["safe_actions"], figures["stale_inputs"]) == (2, 1, 0)


def test_a_latched_stop_moves_a_position_all_the_way_without_observations(
    start, right: Bundle
) -> None:
    rig = start(right, stale_timeout=3600.0, rate=RATE, interpretation="position")
    rig.measure(0.0)
    for step in range(1, 6):
        rig.put(step)
        rig.wait(lambda c, step=step: c.observation_step == step)
    rig.emergency_stop.latch()
    rig.loop.wake()
    rig.wait(lambda c: c.safe and c.values[0] == 0.0)
    assert jumps(rig.commands, 0.0).max() <= STEP + 1e-9
    assert rig.statistics.snapshot()["ticks"] in (10, 11), "there it waits again"


POSITION = {"rate": RATE, "interpretation": "position", "gear": -2.0, "offset": 0.5}


def asked_where(rig: Rig) -> threading.Semaphore:
    """Count how often the loop asks for the pose."""
    where, asked = rig.pose.command, threading.Semaphore(0)

    def command(since: float) -> np.ndarray | None:
        asked.release()
        return where(since)

    rig.pose.command = command
    return asked


def test_the_first_position_comes_from_where_the_joint_is(start, right: Bundle) -> None:
    rig = start(right, **POSITION)
    rig.measure(2.0)  # held by the command -0.75
    for step in (1, 2):
        rig.put(step)
        rig.wait(lambda c, step=step: c.observation_step == step)
    rig.loop.stop()
    values = [float(c.values[0]) for c in rig.commands]
    assert values[:2] == pytest.approx([-0.75 + STEP, -0.75 + 2 * STEP])
    assert values[-1] == 0.0
    assert jumps(rig.commands, -0.75).max() <= STEP + 1e-9


def test_a_joint_outside_of_its_limits_comes_back_at_the_rate(start, right: Bundle) -> None:
    rig = start(right, **POSITION)
    rig.measure(-2.5)  # held by the command 1.5, of which 1 is the highest
    rig.put(1)
    rig.wait(lambda c: c.observation_step == 1)
    rig.loop.stop()
    assert float(rig.commands[0].values[0]) == pytest.approx(1.5 - STEP)
    assert jumps(rig.commands, 1.5).max() <= STEP + 1e-9


@pytest.mark.parametrize("trigger", ["clock", "observation"])
def test_nothing_is_said_before_the_joint_was_measured(start, right: Bundle, trigger: str) -> None:
    rig = start(right, trigger, **POSITION)
    rig.put(1)
    assert not rig.loop.placed
    rig.loop.wake()
    rig.measure(2.0)
    rig.put_until(2, lambda c: not c.safe)
    assert rig.loop.placed
    assert jumps(rig.commands, -0.75).max() <= STEP + 1e-9


def test_who_never_knew_the_pose_stops_without_a_word(start, right: Bundle) -> None:
    rig = start(right, **POSITION)
    rig.put(1)
    rig.emergency_stop.latch()
    rig.loop.wake()
    rig.loop.stop()
    assert not rig.commands


def test_a_stop_that_was_latched_before_keeps_a_position_where_it_is(start, right: Bundle) -> None:
    rig = start(right, trigger="clock", **POSITION)
    rig.emergency_stop.latch()
    rig.measure(2.0)
    asked = asked_where(rig)
    for step in range(1, 4):
        rig.put(step)
        assert asked.acquire(timeout=60)
    assert not rig.commands
    rig.emergency_stop.release()
    rig.put_until(4, lambda c: not c.safe)
    assert jumps(rig.commands, -0.75).max() <= STEP + 1e-9


def test_a_measurement_of_long_ago_is_no_pose(start, right: Bundle) -> None:
    rig = start(right, "clock", stale_timeout=0.3, **POSITION)
    asked = asked_where(rig)
    rig.pose.hear({(ACTION.channels[0].joint, "position"): 2.0}, time.monotonic() - 60.0)
    for step in range(1, 4):
        rig.put(step)
        assert asked.acquire(timeout=60)
    rig.loop.stop()
    assert not rig.commands


def test_a_position_that_was_stale_goes_on_without_a_jump(start, right: Bundle) -> None:
    rig = start(right, "clock", stale_timeout=0.3, **POSITION)
    rig.measure(2.0)
    left = rig.put_until(1, lambda c: not c.safe and c.values[0] > 0.5)
    safe = rig.wait(lambda c: c.sequence > left.sequence and c.safe)
    step = rig.loop.inbox.sample.step
    rig.put_until(step + 1, lambda c: c.sequence > safe.sequence and not c.safe)
    rig.loop.stop()
    assert jumps(rig.commands, -0.75).max() <= STEP + 1e-9


def test_a_position_goes_to_the_safe_one_at_its_rate_and_arrives(start, right: Bundle) -> None:
    rig = start(right, rate=RATE, interpretation="position")
    rig.measure(0.0)
    for step in range(1, 6):
        rig.put(step)
        rig.wait(lambda c, step=step: c.observation_step == step)
    rig.loop.stop()
    assert [c.safe for c in rig.commands[:10]] == [False] * 5 + [True] * 5
    assert len(rig.commands) <= 11, "the first may come before a control step has passed"
    assert rig.commands[-1].values == pytest.approx([0.0])
    assert not rig.loop.short_of_safe
    assert jumps(rig.commands, 0.0).max() <= STEP + 1e-9


def test_a_landing_takes_as_long_as_the_way_at_the_rate(start, right: Bundle) -> None:
    rig = start(right, rate=0.25, interpretation="position", gear=1.0)
    rig.measure(-0.9)
    rig.put(1)
    first = float(rig.wait(lambda c: c.sequence == 1).values[0])
    expected = abs(first) / 0.25
    assert rig.loop.landing_seconds == pytest.approx(expected, abs=CONTROL_STEP)
    began = time.monotonic()
    rig.loop.stop()
    assert time.monotonic() - began >= expected - CONTROL_STEP > 3.0
    assert rig.commands[-1].values.tolist() == [0.0]


def test_a_landing_that_would_take_too_long_is_cut_short_by_name(
    start, right: Bundle, monkeypatch
) -> None:
    monkeypatch.setattr("pwm_policy.loop.LANDING_SECONDS", 0.1)
    rig = start(right, rate=0.25, interpretation="position", gear=1.0)
    rig.measure(-0.9)
    rig.put(1)
    rig.wait(lambda c: c.sequence == 1)
    rig.loop.stop()
    assert rig.loop.short_of_safe == ACTION.names
    assert jumps(rig.commands, -0.9).max() <= 0.25 * CONTROL_STEP + 1e-9


def move(rig: Rig, joint: Callable[[float], float]) -> None:
    """Let the joint be measured where ``joint(command)`` is, with every command."""
    emit = rig.emit

    def answer(command: Command) -> None:
        rig.measure(joint(float(command.values[0])))
        emit(command)

    rig.emit = answer


def test_a_joint_that_does_not_follow_is_held_where_it_is(start, right: Bundle) -> None:
    rig = start(right, "clock", following=(0.3, 0.1), **POSITION)
    move(rig, lambda _: 2.0)  # where it stays: command -0.75, while the policy wants 1
    rig.measure(2.0)
    held = rig.put_until(1, lambda c: c.safe)
    assert rig.emergency_stop.latched
    assert held.values == pytest.approx([-0.75]), "at once: it is there already"
    rig.wait(lambda c: c.sequence > held.sequence)
    assert rig.lost[0].startswith(f"joint {ACTION.channels[0].joint} does not follow its command")
    assert rig.emergency_stop.reason == rig.lost[0]
    later = rig.wait(lambda c: c.sequence > held.sequence + 2)
    assert (later.safe, float(later.values[0])) == (True, pytest.approx(-0.75))
    rig.emergency_stop.release()
    step = rig.loop.inbox.sample.step
    again = rig.put_until(step + 1, lambda c: c.sequence > held.sequence and not c.safe)
    assert abs(float(again.values[0]) + 0.75) <= STEP + 1e-9
    rig.put_until(step + 1000, lambda c: c.safe and c.sequence > again.sequence)
    rig.loop.stop()
    assert rig.commands[-1].values == pytest.approx([-0.75]), "a blocked joint is not moved away"
    assert not rig.loop.short_of_safe
    assert len(rig.lost) == 2


def test_a_joint_is_looked_after_while_the_robot_lands(start, right: Bundle) -> None:
    rig = start(right, following=(0.05, 0.1), rate=0.25, interpretation="position", gear=1.0)
    move(rig, lambda command: min(command, -0.8))  # blocked on its way to 0
    rig.measure(-0.9)
    rig.put(1)
    rig.wait(lambda c: c.sequence == 1)
    rig.loop.stop()
    assert rig.lost
    assert rig.emergency_stop.latched
    assert rig.commands[-1].values == pytest.approx([-0.8]), "held where it is found"
    assert not rig.loop.short_of_safe


def fail(*_: Any) -> Any:
    raise OSError("no such thing")


def landing(start: Callable[..., Rig], right: Bundle) -> Rig:
    """A robot that follows its commands, whose way to the safe action takes 0.36 s."""
    rig = start(right, following=(0.05, 0.1), rate=2.5, interpretation="position", gear=1.0)
    move(rig, lambda command: command)
    rig.measure(-0.95)
    rig.put(1)
    rig.wait(lambda c: c.sequence == 1)
    return rig


def test_a_joint_that_is_not_measured_while_the_robot_lands_latches_nothing(
    start, right: Bundle
) -> None:
    """Who measures it may have been told to end with the node: by Ctrl-C in one terminal."""
    rig = landing(start, right)
    emit = rig.emit

    def fall_silent(command: Command) -> None:
        rig.emit = rig._collect
        emit(command)

    rig.emit = fall_silent
    rig.loop.stop()
    joint = ACTION.channels[0].joint
    assert rig.loop.unmeasured.startswith(f"joint {joint} does not follow its command: not meas")
    assert not rig.emergency_stop.latched
    assert not rig.lost
    assert rig.loop.short_of_safe == ACTION.names
    assert rig.commands[-1].safe
    assert -0.95 < float(rig.commands[-1].values[0]) < 0.0, "held on its way"
    assert rig.commands[-1].values == rig.commands[-2].values, "no way back to an old measurement"
    assert not rig.failures


def test_who_fails_to_look_after_the_joints_does_not_end_a_landing(start, right: Bundle) -> None:
    rig = landing(start, right)
    rig.loop._following.lost = fail
    rig.loop.stop()
    assert [str(error) for error in rig.failures] == ["no such thing"], "told once"
    assert rig.commands[-1].safe
    assert rig.commands[-1].values.tolist() == [0.0]
    assert not rig.loop.short_of_safe


def test_who_fails_to_hear_of_a_lost_joint_does_not_end_a_landing(start, right: Bundle) -> None:
    rig = landing(start, right)
    rig.loop._audience = replace(rig.loop._audience, stopped=fail)
    rig.emit = rig._collect
    move(rig, lambda _: -0.95)  # blocked
    rig.loop.stop()
    assert [str(error) for error in rig.failures] == ["no such thing"]
    assert rig.emergency_stop.latched
    assert rig.commands[-1].safe
    assert rig.commands[-1].values == pytest.approx([-0.95]), "held where it is found"


def test_a_joint_that_follows_is_left_alone(start, right: Bundle) -> None:
    rig = start(right, "clock", following=(0.3, 10.0), **POSITION)
    move(rig, lambda command: -2.0 * command + 0.5)
    rig.measure(2.0)
    rig.put_until(1, lambda c: c.values[0] == 1.0)
    assert not rig.lost
    assert not rig.emergency_stop.latched


def test_what_training_never_saw_is_named_and_counted_but_never_stops(start, make_bundle) -> None:
    seen = {"low": [-1.0] * 5, "high": [1.0] * 5}
    bundle = Bundle.load(make_bundle("right", (20.0, 0, 0, 0, 0), observation_range=seen))
    rig = start(bundle)
    for step, value in ((1, 1.0), (2, 5.0), (3, 1.01)):
        rig.put(step, value)
        assert not rig.wait(lambda c, step=step: c.observation_step == step).safe
        names = rig.loop.out_of_range
        assert names == ((bundle.observation.names[0],) if value == 5.0 else ())
    assert rig.statistics.snapshot()["out_of_range_inputs"] == 1


def test_a_policy_that_takes_too_long_misses_ticks_and_is_still_heard(
    start, right: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = start(right, "clock")
    act = Bundle.act

    def slow(bundle: Bundle, observation: np.ndarray) -> np.ndarray:
        threading.Event().wait(0.07)
        return act(bundle, observation)

    monkeypatch.setattr(Bundle, "act", slow)
    late = rig.put_until(1, lambda c: not c.safe)
    assert late.values == pytest.approx([1.0])
    rig.wait(lambda c: c.sequence > late.sequence)
    assert rig.statistics.snapshot()["missed_ticks"] >= 2


def test_two_hundred_swaps_under_load_leave_no_old_command(
    start, right: Bundle, make_bundle
) -> None:
    """Of each swap, at most the tick that was under way still answers with the policy before."""
    paths = [make_bundle(name, (gain, 0, 0, 0, 0)) for name, gain in (("a", -20.0), ("b", 0.0))]
    bundles = [right, *map(Bundle.load, paths)]
    rig = start(right)
    stopped = threading.Event()

    def load_all_the_time() -> None:
        while not stopped.is_set():
            Bundle.load(paths[0])

    loader = threading.Thread(target=load_all_the_time)
    loader.start()
    asked: list[tuple[int, int]] = []
    for number in range(200):
        rig.put(number + 1)
        bundle = bundles[number % 3]
        epoch = rig.slot.swap(bundle.name, bundle).epoch
        asked.append((rig.loop.sequence, epoch))
        rig.wait_for_epoch(epoch)
    stopped.set()
    loader.join()
    assert [c.sequence for c in rig.commands] == list(range(1, len(rig.commands) + 1))
    epochs = [c.epoch for c in rig.commands]
    assert epochs == sorted(epochs)
    for sequence, epoch in asked:
        assert all(c.epoch >= epoch for c in rig.commands if c.sequence > sequence + 1)


@pytest.mark.parametrize(("before", "after"), [("clock", "observation"), ("observation", "clock")])
def test_another_trigger_acts_without_a_safe_action_in_between(
    start, right: Bundle, before: str, after: str
) -> None:
    rig = start(right, before)
    rig.put_until(1, lambda c: not c.safe)
    rig.loop.drive(LoopSettings(after, 0.02, 30.0))
    if after == "observation":
        rig.put_until(1000, lambda c: c.observation_step >= 1000)
    else:
        count = len(rig.commands)
        rig.wait(lambda c: len(rig.commands) > count + 5)
    assert not any(command.safe for command in rig.commands)


def test_a_shorter_timeout_holds_for_the_observation_before(start, right: Bundle) -> None:
    rig = start(right, stale_timeout=3600.0)
    rig.put(1)
    rig.wait(lambda c: not c.safe)
    rig.loop.drive(LoopSettings("observation", 0.02, 0.3))
    assert rig.wait(lambda c: c.safe).observation_step == 1


def test_a_stop_latched_while_the_policy_decides_wins(start, right: Bundle) -> None:
    rig = start(right)
    compare = rig.loop._compare_with_training

    def stop_first(*decided: Any) -> None:
        rig.emergency_stop.latch()
        compare(*decided)

    rig.loop._compare_with_training = stop_first
    rig.put(1)
    assert rig.wait(lambda c: c.observation_step == 1).safe


def test_no_command_leaves_after_the_stop_was_answered(start, right: Bundle) -> None:
    """One that is on its way while the stop is latched leaves before the answer."""
    rig = start(right)
    emit, leaving, go_on = rig.emit, threading.Event(), threading.Event()
    told: list[str] = []

    def slow(command: Command) -> None:
        leaving.set()
        go_on.wait(60)
        told.append("safe" if command.safe else "policy")
        emit(command)

    def stop() -> None:
        assert rig.emergency_stop.latch()
        told.append("answered")

    rig.emit = slow
    rig.put(1)
    assert leaving.wait(60)
    stopping = threading.Thread(target=stop)
    stopping.start()
    stopping.join(timeout=0.1)
    assert not told
    go_on.set()
    stopping.join(timeout=60)
    rig.put(2)
    rig.wait(lambda c: c.observation_step == 2)
    assert [word for word in told if word != "answered"] == ["policy", "safe"]
    assert told.index("policy") < told.index("answered")


def test_of_many_stops_none_is_overtaken_by_a_command(start, right: Bundle) -> None:
    rig = start(right)
    stopped = threading.Event()

    def observe() -> None:
        step = 0
        while not stopped.is_set():
            step += 1
            rig.put(step)

    observing = threading.Thread(target=observe)
    observing.start()
    for _ in range(300):
        count = len(rig.commands)
        rig.wait(lambda c, count=count: any(not c.safe for c in rig.commands[count:]))
        assert rig.emergency_stop.latch()
        answered = len(rig.commands)
        rig.wait(lambda c, answered=answered: len(rig.commands) > answered + 1)
        assert all(command.safe for command in rig.commands[answered:])
        rig.emergency_stop.release()
    stopped.set()
    observing.join()


def test_a_loop_that_does_not_end_is_told(start, right: Bundle, monkeypatch) -> None:
    monkeypatch.setattr("pwm_policy.loop.STOPPING_SECONDS", 0.05)
    rig, released = start(right), threading.Event()
    emit, stuck = rig.emit, threading.Event()

    def hang(command: Command) -> None:
        stuck.set()
        released.wait(60)
        emit(command)

    rig.emit = hang
    rig.put(1)
    assert stuck.wait(60)
    with pytest.raises(RuntimeError, match="did not end within"):
        rig.loop.stop()
    released.set()
    rig.loop.join(10)


def test_noise_is_on_the_policys_actions_and_never_on_the_safe_one(start, make_bundle) -> None:
    rig = start(Bundle.load(make_bundle("middle", (0.1, 0, 0, 0, 0))))
    rig.loop.drive(replace(rig.loop._settings, exploration_noise=0.05, exploration_seed=7))
    for step in range(1, 31):
        rig.put(step)
        rig.wait(lambda c, step=step: c.observation_step == step)
    values = np.array([c.values[0] for c in rig.commands])
    assert 0.03 < values.std() < 0.3  # a twentieth of the range of 2
    rig.emergency_stop.latch()
    safe = rig.put_until(31, lambda c: c.safe)
    np.testing.assert_array_equal(safe.values, ACTION.safe)


@pytest.mark.parametrize("noise", [0.0, 0.05])
def test_an_observation_that_is_repeated_has_one_answer(start, right: Bundle, noise: float) -> None:
    """A simulation that waits repeats itself, takes the first answer, and goes on from there."""

    def answers(times: int) -> list[list[float]]:
        """What is answered to each of eight observations that come so often."""
        rig = start(right, rate=RATE, interpretation="position")
        rig.measure(0.0)
        rig.loop.drive(replace(rig.loop._settings, exploration_noise=noise, exploration_seed=7))
        for step in range(1, 9):
            for _ in range(times):
                count = len(rig.commands)
                rig.put(step)
                rig.wait(lambda c, count=count: len(rig.commands) > count)
        values = [float(c.values[0]) for c in rig.commands]
        return [values[n : n + times] for n in range(0, len(values), times)]

    once = answers(1)
    assert len({value for (value,) in once}) == 8, "on its way at the rate"
    assert answers(3) == [3 * answer for answer in once]


def test_noise_ends_when_nobody_asks_for_it_any_more(start, make_bundle) -> None:
    rig = start(Bundle.load(make_bundle("middle", (0.1, 0, 0, 0, 0))))
    noisy = replace(rig.loop._settings, exploration_noise=0.05, exploration_seed=7)
    rig.loop.drive(replace(noisy, exploring_until=time.monotonic() - 1.0))
    for step in range(1, 6):
        rig.put(step)
        rig.wait(lambda c, step=step: c.observation_step == step)
    assert np.ptp([c.values[0] for c in rig.commands]) == 0.0
    rig.loop.drive(replace(noisy, exploring_until=time.monotonic() + 3600.0))
    for step in range(6, 11):
        rig.put(step)
        rig.wait(lambda c, step=step: c.observation_step == step)
    assert np.ptp([c.values[0] for c in rig.commands if c.observation_step >= 6]) > 0.0


def test_what_can_wait_begins_after_a_tick(start, right: Bundle) -> None:
    rig = start(right, stale_timeout=3600.0)
    rig.loop.drive(replace(rig.loop._settings, control_step=3600.0))
    returned = threading.Event()

    def wait() -> None:
        rig.loop.wait_for_tick()
        returned.set()

    threading.Thread(target=wait, daemon=True).start()
    step = 0
    while not returned.wait(0.05):  # a tick may have been before the wait
        step += 1
        assert step < 1000
        rig.put(step)
