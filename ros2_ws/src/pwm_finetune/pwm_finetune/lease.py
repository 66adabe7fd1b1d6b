# SPDX-License-Identifier: Apache-2.0
"""What the policy node is asked for until it says yes, and again before it ends by itself."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from pwm_finetune.policy_client import Call

RENEWAL_SECONDS = 1.0
LEAST_SECONDS = 5.0
"""A setting that ends by itself sooner could do so between two renewals on a busy machine."""
Value = TypeVar("Value")


class Lease(Generic[Value]):
    """A setting of the policy node that does not outlive this process for long.

    ``nothing`` is the value that needs no renewal. Any other one is asked for every second, whether
    or not an answer came: answers get lost, and the setting's time runs.
    """

    def __init__(self, ask: Callable[[Value], Call], nothing: Value) -> None:
        self._ask, self._nothing = ask, nothing
        self._value: Value | None = None
        self._calls: list[Call] = []
        """Those for the present value that may still be answered."""
        self._done = False
        """Whether the policy node has said yes to the present value."""
        self._asked = -math.inf

    def want(self, value: Value) -> bool:
        """Ask for ``value`` if that is due; return whether it is another one than before."""
        changed = value != self._value
        if changed:
            self._begin(value)
        if not self.over and time.monotonic() - self._asked > RENEWAL_SECONDS:
            self._asked = time.monotonic()
            self._calls.append(self._ask(value))
        return changed

    @property
    def over(self) -> bool:
        """Whether the policy node has said that it does without."""
        self._hear()
        return self._done and self._value == self._nothing

    def _begin(self, value: Value) -> None:
        """Want ``value`` from now on; requests are dealt with in the order they were sent in."""
        for call in self._calls:
            call.forget()
        self._value, self._calls, self._done, self._asked = value, [], False, -math.inf

    def _hear(self) -> None:
        responses = [call.response() for call in self._calls]
        granted = (r is not None and all(x.successful for x in r.results) for r in responses)
        self._done = self._done or any(granted)
        open_calls = zip(self._calls, responses, strict=True)
        self._calls = [call for call, r in open_calls if r is None and not call.lost()]
