# SPDX-License-Identifier: Apache-2.0
"""The next batch is made while the present one is used."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

T = TypeVar("T")


class Prefetch(Generic[T]):
    """``make(number)`` for one number after the other; a thread is always one ahead.

    Any other number is made when it is asked for. ``make`` is called by that thread alone.
    """

    def __init__(self, make: Callable[[int], T]) -> None:
        self._make = make
        self._thread = ThreadPoolExecutor(1, "prefetch")
        self._ahead: tuple[int, Future[T]] | None = None

    def __call__(self, number: int) -> T:
        """Return ``make(number)``, or raise what it raised."""
        if self._ahead is None or self._ahead[0] != number:
            self._ahead = number, self._thread.submit(self._make, number)
        found = self._ahead[1].result()
        self._ahead = number + 1, self._thread.submit(self._make, number + 1)
        return found
