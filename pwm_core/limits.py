# SPDX-License-Identifier: Apache-2.0
"""What the numbers of a configuration may be."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from typing import Any

from pwm_core.errors import PwmError


@dataclass(frozen=True)
class Limit:
    """Numbers that make sense, in words and as a test; none lets NaN or infinity pass."""

    expected: str
    holds: Callable[[float], bool]

    def require(self, config: Any, *names: str) -> None:
        """Raise ``PwmError`` unless it holds for these fields, for every number of a tuple."""
        for name in names:
            value = getattr(config, name)
            numbers = value if isinstance(value, tuple) else (value,)
            if not all(self.holds(number) for number in numbers):
                raise PwmError(f"{name} is {value}, expected {self.expected}")


ONE_OR_MORE = Limit("1 or more", lambda number: 1 <= number < inf)
NOT_NEGATIVE = Limit("0 or more", lambda number: 0 <= number < inf)
POSITIVE = Limit("above 0", lambda number: 0 < number < inf)
FRACTION = Limit("between 0 and 1", lambda number: 0 <= number <= 1)
BELOW_ONE = Limit("0 or more and below 1", lambda number: 0 <= number < 1)
INSIDE = Limit("above 0 and below 1", lambda number: 0 < number < 1)
