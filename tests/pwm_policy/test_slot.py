# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import math

import numpy as np
import pytest

from pwm_export.bundle import Bundle
from pwm_policy.slot import PolicySlot

OBSERVATION = np.array([1.0, 0, 0, 0, 0])


class HandClock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def slot(make_bundle, clock: HandClock) -> PolicySlot:
    slot = PolicySlot(clock)
    slot.start("left", Bundle.load(make_bundle("left", (-20.0, 0, 0, 0, 0))))
    return slot


@pytest.fixture
def right(make_bundle) -> Bundle:
    return Bundle.load(make_bundle("right", (20.0, 0, 0, 0, 0)))


def test_a_swap_is_one_epoch_and_keeps_the_previous(slot: PolicySlot, right: Bundle) -> None:
    first = slot.active
    swapped = slot.swap("right", right)
    assert slot.active is swapped
    assert slot.previous is first
    assert swapped.epoch == first.epoch + 1
    assert swapped.act(OBSERVATION, 0.0) == pytest.approx([1.0])


def test_a_blend_moves_linearly(slot: PolicySlot, right: Bundle, clock: HandClock) -> None:
    clock.now = 10.0
    swapped = slot.swap("right", right, blend_seconds=2.0)
    actions = [float(swapped.act(OBSERVATION, now)[0]) for now in (10.0, 10.5, 11.0, 12.0, 13.0)]
    assert actions == pytest.approx([-1.0, -0.5, 0.0, 1.0, 1.0], abs=1e-5)


def test_a_tick_that_began_before_the_request_does_not_extrapolate(
    slot: PolicySlot, right: Bundle
) -> None:
    swapped = slot.swap("right", right, blend_seconds=2.0, requested=10.0)
    assert swapped.act(OBSERVATION, 8.0) == pytest.approx([-1.0])


def test_a_swap_during_a_blend_goes_on_from_the_last_command(
    slot: PolicySlot, right: Bundle, clock: HandClock
) -> None:
    left = slot.acting.bundle
    blending = slot.swap("right", right, blend_seconds=2.0)
    slot.acted(blending, blending.act(OBSERVATION, 0.5))  # -0.5: neither the one nor the other
    clock.now = 0.5
    back = slot.swap("left", left, blend_seconds=1.0)
    actions = [float(back.act(OBSERVATION, now)[0]) for now in (0.5, 1.0, 1.5)]
    assert actions == pytest.approx([-0.5, -0.75, -1.0], abs=1e-5)


def test_an_old_policy_without_a_finite_action_has_no_part_in_a_blend(
    slot: PolicySlot, right: Bundle, make_bundle
) -> None:
    roots = Bundle.load(make_bundle("roots", (-1.0, 0, 0, 0, 0), square_root=True))
    slot.swap("roots", roots)
    swapped = slot.swap("right", right, blend_seconds=2.0, requested=0.0)
    assert swapped.act(OBSERVATION, 1.0) == pytest.approx([1.0])


def test_latency_is_from_request_to_first_action(
    slot: PolicySlot, right: Bundle, clock: HandClock
) -> None:
    clock.now = 1.0
    old, swapped = slot.active, slot.swap("right", right, requested=0.9)
    assert math.isnan(slot.swap_latency)
    assert not slot.acted(old, np.zeros(1))
    clock.now = 1.02
    assert slot.acted(swapped, np.zeros(1))
    assert slot.swap_latency == pytest.approx(0.12)
    assert not slot.acted(swapped, np.zeros(1))


def test_epochs_go_on_after_a_new_configuration(slot: PolicySlot, right: Bundle) -> None:
    epoch = slot.active.epoch
    slot.clear()
    slot.start("right", right)
    assert slot.active.epoch > epoch
    assert slot.previous is None
