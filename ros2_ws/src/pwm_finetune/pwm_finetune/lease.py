# SPDX-License-Identifier: Apache-2.0
"""What the policy node is asked for until it says yes, and again before it ends by itself."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Generic, TypeVar

from pwm_finetune.policy_client import Call

RENEWAL_SECONDS = 1.0
Value = TypeVar("Value")


class Lease(Generic[Value]):
    """A setting of the policy node that does not outlive this process for long.

    ``nothing`` is the value that needs no renewal.
    """

    def __init__(self, ask: Callable[[Value], Call], nothing: Value) -> None:
        self._ask, self._nothing = ask, nothing
        self._value: Value | None = None
        self._call: Call | None = None
        self._asked = 0.0

    def want(self, value: Value) -> bool:
        """Ask for ``value`` if that is due; return whether it is another one than before.

        Nothing is asked for while an answer is on its way.
        """
        if not self._answered():
            return False
        changed = value != self._value
        due = value != self._nothing and time.monotonic() - self._asked > RENEWAL_SECONDS
        if changed or due:
            self._value, self._asked = value, time.monotonic()
            self._call = self._ask(value)
        return changed

    @property
    def over(self) -> bool:
        """Whether the policy node has said that it does without."""
        return self._answered() and self._value == self._nothing

    def _answered(self) -> bool:
        """Whether nothing is on its way; what was not done is asked for again."""
        if self._call is None:
            return True
        response = self._call.response()
        if response is not None and all(result.successful for result in response.results):
            self._call = None
        elif response is not None or self._call.lost():
            self._call = self._value = None
        return self._call is None
