# SPDX-License-Identifier: Apache-2.0
"""A policy on trial acts only as long as somebody says that it is watched."""

from __future__ import annotations

import math
import time
from dataclasses import replace

from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.parameter import Parameter

from pwm_policy.acting_file import OnTrial
from pwm_policy.registry import PolicyError
from pwm_policy.services import PolicyServices
from pwm_policy.slot import PolicySlot

LOOK_SECONDS = 0.2
RETRY_SECONDS = 5.0
"""A policy that could not be taken back is tried to be so again after this."""
TRIAL_PARAMETERS = {name: f"trial_{name}" for name in ("policy", "fallback", "timeout")}
"""What says a trial: field and parameter."""


class Trial:
    """Ends the trial of ``trial_policy`` when ``trial_timeout`` was not set again in time.

    Whoever lets a candidate act may die, or its machine be cut off: then ``trial_fallback`` acts
    again. A policy that is not on trial is left alone. A trial goes on in a node that replaces one
    that died, as the policy does, and gets no more time by it if that one dies, too.
    """

    def __init__(self, node: Node, slot: PolicySlot, services: PolicyServices) -> None:
        self._node, self._slot, self._services = node, slot, services
        self._until = math.inf
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        node.create_timer(LOOK_SECONDS, self.look, clock=steady)

    def renew(self) -> None:
        """Count anew: one of the parameters was set."""
        said = OnTrial(
            *(self._node.get_parameter(name).value for name in TRIAL_PARAMETERS.values())
        )
        trial = said if said.policy and said.timeout else None
        self._services.keep_trial(trial)
        self._until = time.monotonic() + trial.timeout if trial else math.inf

    def resume(self, trial: OnTrial) -> None:
        """Go on with the trial of a node that died.

        Its time counts from now on, or since the first of several nodes that nobody has told
        anything.
        """
        until = time.monotonic() + trial.timeout
        if trial.until is not None:
            until = min(until, trial.until)
        self._node.set_parameters_atomically(
            [Parameter(name, value=getattr(trial, f)) for f, name in TRIAL_PARAMETERS.items()]
        )  # which renews
        self._until = until
        self._services.keep_trial(replace(trial, until=until))

    def look(self) -> None:
        """Let the fallback act again once nobody has watched the candidate for too long."""
        if time.monotonic() < self._until:
            return
        name = self._node.get_parameter("trial_policy").value
        active = self._slot.active
        if active is None or active.name != name:
            self._until = math.inf
            return
        fallback = self._node.get_parameter("trial_fallback").value
        try:
            self._services.take_back(fallback, f"{name} is on trial and nobody watches it")
        except PolicyError as error:
            self._until = time.monotonic() + RETRY_SECONDS
            self._node.get_logger().error(
                f"{name} is on trial, nobody watches it, and {fallback} cannot act again: {error}"
            )
