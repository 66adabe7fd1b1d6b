# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from pwm_export.bundle import Bundle
from pwm_policy.loop import Command
from pwm_policy.monitor import NoveltyWatch
from pwm_policy.slot import PolicySlot


class Rig:
    """A watch on a robot that the test moves by hand."""

    def __init__(self, bundle: Bundle) -> None:
        self.slot = PolicySlot()
        self.slot.start("first", bundle)
        self.novelties: list[float] = []
        self.alarmed: list[float] = []
        self.watch = NoveltyWatch(self.slot, self.novelties.append, self.alarmed.append)
        self.step = 0

    def tick(self, position: float, safe: bool = False, fresh: bool = True, steps: int = 1) -> None:
        self.step += steps
        policy = self.slot.acting
        command = Command(policy.name, policy.epoch, 0, self.step, np.zeros(1), safe)
        self.watch(np.array([position, 0, 0, 0, 0]), command, fresh)

    def slide(self, speed: float, ticks: int) -> None:
        """Move though the command is zero, which no integrator does."""
        for tick in range(ticks):
            self.tick(speed * tick)


@pytest.fixture
def plain(make_bundle) -> Bundle:
    return Bundle.load(make_bundle("plain"))


@pytest.fixture
def monitored(plain: Bundle, make_monitor) -> Bundle:
    return dataclasses.replace(plain, monitor=make_monitor(window=5, threshold=1.0))


@pytest.fixture
def rig(monitored: Bundle) -> Rig:
    return Rig(monitored)


def test_nominal_motion_is_told_and_not_alarmed(rig: Rig) -> None:
    rig.slide(0.0, 20)
    assert rig.novelties == [0.0] * 20
    assert rig.alarmed == []
    assert rig.watch.monitored
    assert not rig.watch.holds


def test_an_alarm_is_raised_once_per_rise(rig: Rig) -> None:
    rig.slide(2.0, 10)
    assert len(rig.alarmed) == 1
    assert rig.alarmed[0] > 1
    for _ in range(10):
        rig.tick(0.0)
    assert rig.novelties[-1] == 0
    rig.slide(2.0, 10)
    assert len(rig.alarmed) == rig.watch.alarms == 2


def test_the_peak_is_kept_until_it_was_told(rig: Rig) -> None:
    rig.slide(2.0, 10)
    for _ in range(10):
        rig.tick(0.0)
    assert rig.watch.peak == max(rig.novelties) > 1
    rig.watch.look_again()
    assert rig.watch.peak == 0


def test_a_policy_without_monitor_is_not_judged(plain: Bundle) -> None:
    rig = Rig(plain)
    rig.slide(100.0, 10)
    assert rig.novelties == rig.alarmed == []
    assert not rig.watch.monitored


def test_held_until_another_swap(rig: Rig, monitored: Bundle) -> None:
    rig.slide(2.0, 10)
    rig.watch.hold()
    assert rig.watch.holds
    rig.slot.swap("first", monitored)
    assert not rig.watch.holds


def test_a_swap_that_came_first_is_not_held(rig: Rig, monitored: Bundle) -> None:
    """The operator swapped between the tick that alarmed and the reaction to it."""
    rig.slide(2.0, 10)
    rig.slot.swap("second", monitored)
    rig.watch.hold()
    assert not rig.watch.holds


def test_each_policy_is_judged_by_itself(rig: Rig, plain: Bundle, monitored: Bundle) -> None:
    rig.slide(0.5, 5)
    rig.slot.swap("second", monitored)
    rig.tick(100.0)
    assert rig.novelties[-1] == 0
    rig.slot.swap("third", plain)
    told = len(rig.novelties)
    rig.slide(9.0, 5)
    assert len(rig.novelties) == told


def test_the_safe_action_is_not_judged(rig: Rig) -> None:
    for tick in range(10):
        rig.tick(9.0 * tick, safe=True)
    assert rig.novelties == [0.0] * 10
    rig.tick(200.0)
    assert rig.novelties[-1] == 0


@pytest.mark.parametrize("steps", [2, 30])
def test_lost_observations_are_not_compared(rig: Rig, steps: int) -> None:
    rig.tick(0.0)
    for tick in range(10):
        rig.tick(9.0 * tick, steps=steps)
    assert rig.novelties == [0.0] * 11


def test_an_observation_that_is_repeated_is_not_compared_with_itself(rig: Rig) -> None:
    for tick in range(3):
        rig.tick(0.5 * tick)
    before = rig.novelties[-1]
    for _ in range(10):
        rig.tick(1.0, steps=0)
    assert rig.novelties[-10:] == [before] * 10
    rig.tick(1.5)
    assert rig.novelties[-1] == pytest.approx(0.3)


def test_stale_observations_are_not_compared(rig: Rig) -> None:
    rig.tick(0.0)
    rig.tick(0.0, fresh=False)
    rig.tick(50.0)
    assert rig.novelties == [0.0] * 2


def test_another_loop_begins_afresh(rig: Rig) -> None:
    rig.slide(0.5, 5)
    assert rig.novelties[-1] > 0
    rig.watch.restart()
    rig.tick(100.0)
    assert rig.novelties[-1] == 0
