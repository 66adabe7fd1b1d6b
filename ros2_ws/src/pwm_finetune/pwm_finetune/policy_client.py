# SPDX-License-Identifier: Apache-2.0
"""The policy node's services and status, as a client that never waits."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import Any

from pwm_interfaces.msg import PolicyStatus
from pwm_interfaces.srv import ListPolicies, LoadPolicy, SwapPolicy
from rcl_interfaces.srv import SetParameters
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import QoSDurabilityPolicy, QoSProfile

ANSWER_SECONDS = 30.0
"""After so long a call counts as unanswered."""
LATCHED = QoSProfile(depth=1, durability=QoSDurabilityPolicy.TRANSIENT_LOCAL)


@dataclass(frozen=True)
class Answer:
    """What came back of a call."""

    success: bool
    message: str
    answered: bool = True
    """Whether the policy node said so, rather than nothing."""


class Call:
    """A request on its way."""

    def __init__(self, client: Any, request: Any) -> None:
        self._client = client
        self._future: Any = client.call_async(request) if client.service_is_ready() else None
        self._deadline = time.monotonic() + ANSWER_SECONDS

    def response(self) -> Any:
        """Return the response, None while there is none."""
        return self._future.result() if self._future is not None and self._future.done() else None

    def lost(self) -> bool:
        """Whether there is no response, and none can be expected any more."""
        if self.response() is not None:
            return False
        if self._future is not None and time.monotonic() > self._deadline:
            self.forget()
        return self._future is None

    def forget(self) -> None:
        """Expect no response any more."""
        if self._future is not None:
            self._client.remove_pending_request(self._future)
            self._future = None

    def answer(self) -> Answer | None:
        """Return the answer, None while it may still come."""
        name, begun = self._client.srv_name, self._future is not None
        response = self.response()
        if response is not None:
            return Answer(response.success, response.message)
        if not self.lost():
            return None
        why = f": no answer in {ANSWER_SECONDS:g} s" if begun else " is not there"
        return Answer(False, f"service {name}{why}", answered=False)


class PolicyClient:
    """One policy node, by its name."""

    def __init__(self, node: Node, name: str) -> None:
        self.status: PolicyStatus | None = None
        """What it said last; None before it has spoken."""
        self._load: Any = node.create_client(LoadPolicy, f"{name}/load_policy")
        self._swap: Any = node.create_client(SwapPolicy, f"{name}/swap_policy")
        self._list: Any = node.create_client(ListPolicies, f"{name}/list_policies")
        self._parameters: Any = node.create_client(SetParameters, f"{name}/set_parameters")
        node.create_subscription(PolicyStatus, f"{name}/status", self._on_status, LATCHED)

    def _on_status(self, status: PolicyStatus) -> None:
        self.status = status

    @property
    def acting(self) -> str:
        """Name of the policy that acts; empty while none does."""
        status = self.status
        return status.policy if status is not None and status.state == "active" else ""

    @property
    def stopped(self) -> bool:
        """Whether the emergency stop is latched."""
        return self.status is not None and self.status.emergency_stop

    def load(self, name: str) -> Call:
        """Ask to read a bundle of the policy directory."""
        return Call(self._load, LoadPolicy.Request(name=name))

    def swap(self, name: str, blend_seconds: float) -> Call:
        """Ask to let a loaded policy act."""
        return Call(self._swap, SwapPolicy.Request(name=name, blend_seconds=blend_seconds))

    def explore(self, noise: float, seed: int, seconds: float) -> Call:
        """Ask for noise on actions, a deviation as a fraction of their range, for ``seconds``."""
        return self._set(
            exploration_noise=noise, exploration_seed=seed, exploration_timeout=seconds
        )

    def try_out(self, policy: str, fallback: str, seconds: float) -> Call:
        """Ask that ``fallback`` act again ``seconds`` from now if ``policy`` still acts then."""
        return self._set(trial_policy=policy, trial_fallback=fallback, trial_timeout=seconds)

    def _set(self, **values: float | str) -> Call:
        asked = [Parameter(name, value=value).to_parameter_msg() for name, value in values.items()]
        return Call(self._parameters, SetParameters.Request(parameters=asked))

    def list(self) -> Call:
        """Ask for the policies that are loaded."""
        return Call(self._list, ListPolicies.Request())


def provenance(response: ListPolicies.Response, name: str) -> dict[str, Any]:
    """Return what the policy ``name`` of a list came from; empty if it does not say."""
    for info in response.policies:
        if info.name == name:
            return json.loads(info.provenance or "{}")
    return {}
