# SPDX-License-Identifier: Apache-2.0
"""Lets a policy act: asks the policy node to read it and to swap, and never waits. No ROS."""

from __future__ import annotations

import time
from typing import Protocol

STATUS_SECONDS = 20.0
"""How long the policy node's status may take to tell of a swap that it has answered."""


class Answer(Protocol):
    """What came back of a request to the policy node."""

    @property
    def success(self) -> bool: ...
    @property
    def message(self) -> str: ...
    @property
    def answered(self) -> bool: ...


class Request(Protocol):
    """A request to the policy node on its way."""

    def answer(self) -> Answer | None:
        """Return the answer, None while it may still come."""
        ...


class PolicyNode(Protocol):
    """The policy node, as far as fine-tuning deals with it."""

    @property
    def acting(self) -> str:
        """Name of the policy that acts; empty while none does."""
        ...

    @property
    def stopped(self) -> bool:
        """Whether the emergency stop is latched."""
        ...

    def load(self, name: str) -> Request:
        """Ask to read a bundle."""
        ...

    def swap(self, name: str, blend_seconds: float) -> Request:
        """Ask to let a loaded policy act."""
        ...


class Takeover:
    """At most one request on its way, and the last swap that was answered.

    By name, never "the one before": an answer that was lost is asked for again.
    """

    def __init__(self, policy_node: PolicyNode) -> None:
        self._policy_node = policy_node
        self._request: Request | None = None
        self.swaps = False
        """Whether the last request was for a swap."""
        self._swapped = -STATUS_SECONDS

    @property
    def asked(self) -> bool:
        """Whether a request is on its way."""
        return self._request is not None

    @property
    def swapping(self) -> bool:
        """Whether a swap was answered of which the status may not have told yet."""
        return time.monotonic() - self._swapped < STATUS_SECONDS

    def load(self, name: str) -> None:
        """Ask to read a bundle; the swap to it follows."""
        self._request, self.swaps = self._policy_node.load(name), False

    def swap(self, name: str, blend_seconds: float) -> None:
        """Ask to let a policy act that the node holds."""
        self._request, self.swaps = self._policy_node.swap(name, blend_seconds), True

    def follow(self, name: str, blend_seconds: float) -> Answer | None:
        """Let the swap follow the load; return an answer that says no."""
        answer = self._request.answer() if self._request is not None else None
        if answer is None:
            return None
        self._request = None
        if answer.success and not self.swaps:
            self.swap(name, blend_seconds)
        elif answer.success:
            self._swapped = time.monotonic()
        return None if answer.success else answer

    def drop(self) -> None:
        """Forget the request."""
        self._request = None

    def forget(self) -> None:
        """Forget the request, and the last swap too: another is wanted at once."""
        self._request, self._swapped = None, -STATUS_SECONDS
