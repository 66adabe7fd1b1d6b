# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest

from pwm_policy.elapsed import Elapsed


@pytest.fixture
def elapsed() -> Elapsed:
    """A clock that has ticked once, at stamp 10 s."""
    elapsed = Elapsed(longest=0.02)
    assert elapsed.since_last(10.0, 0.0) == 0.02, "nobody knows when the last one was"
    return elapsed


def test_stamps_tell_however_fast_they_come(elapsed: Elapsed) -> None:
    assert elapsed.since_last(10.02, 0.0001) == pytest.approx(0.02)
    assert elapsed.since_last(10.03, 0.0002) == pytest.approx(0.01)
    assert elapsed.since_last(99.0, 0.0003) == 0.02, "no more than one command may answer for"


def test_without_stamps_this_machine_tells() -> None:
    elapsed = Elapsed(longest=0.02)
    elapsed.since_last(0.0, 1.0)
    assert elapsed.since_last(0.0, 1.001) == pytest.approx(0.001)
    assert elapsed.since_last(0.0, 9.0) == 0.02


def test_what_a_repeated_stamp_was_told_is_taken_off_the_next(elapsed: Elapsed) -> None:
    assert elapsed.since_last(10.0, 0.005) == pytest.approx(0.005)
    assert elapsed.since_last(10.0, 0.015) == pytest.approx(0.01)
    assert elapsed.since_last(10.02, 0.02) == pytest.approx(0.005)
    assert elapsed.since_last(10.04, 0.04) == pytest.approx(0.02)


def test_stamps_that_go_back_and_forth_give_no_time(elapsed: Elapsed) -> None:
    told = sum(
        elapsed.since_last((10.0, 10.02)[number % 2], 0.0001 * number) for number in range(1, 1001)
    )
    assert told <= 0.02 + 0.1 + 1e-9


def test_a_clock_that_was_set_back_gives_way_to_this_machines(elapsed: Elapsed) -> None:
    assert elapsed.since_last(2.0, 0.01) == pytest.approx(0.01)
    assert elapsed.since_last(2.02, 0.03) == pytest.approx(0.02)
