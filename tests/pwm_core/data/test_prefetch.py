# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import threading

import pytest

from pwm_core.data.prefetch import Prefetch


def test_the_next_is_made_while_this_one_is_used() -> None:
    made: list[int] = []
    second = threading.Event()

    def make(number: int) -> int:
        made.append(number)
        if number == 8:
            second.set()
        return 10 * number

    ahead = Prefetch(make)
    assert ahead(7) == 70
    assert second.wait(30), "8 was not made before anybody asked"
    assert [ahead(8), ahead(9), ahead(3), ahead(4)] == [80, 90, 30, 40]
    assert made.count(8) == 1


def test_an_error_reaches_who_asks() -> None:
    def make(number: int) -> int:
        if number == 2:
            raise ValueError("two")
        return number

    ahead = Prefetch(make)
    assert ahead(1) == 1
    with pytest.raises(ValueError, match="two"):
        ahead(2)
