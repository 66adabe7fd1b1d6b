# SPDX-License-Identifier: Apache-2.0
"""The services that change which policy acts: list, load, swap, roll back, stop."""

from __future__ import annotations

import functools
import math
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from pwm_interfaces.srv import ListPolicies, LoadPolicy, SwapPolicy
from rclpy.node import Node
from rclpy.qos import QoSProfile
from std_srvs.srv import SetBool, Trigger

from pwm_policy.acting_file import ActingFile, Asked, OnTrial
from pwm_policy.acting_keeper import ActingKeeper
from pwm_policy.beside import Beside
from pwm_policy.emergency_stop import LEAVING_SECONDS, EmergencyStop
from pwm_policy.latch_file import LatchFile
from pwm_policy.messages import policy_info
from pwm_policy.registry import Acting, PolicyError, PolicyRegistry
from pwm_policy.slot import ActivePolicy, PolicySlot

NOT_CONFIGURED = "the node is not configured"
CLEANED_UP = "the node was cleaned up before the policy was loaded"
CALLS = QoSProfile(depth=200)
"""So many calls may wait at once; of ROS' default, ten, the rest would never be answered."""


class PolicyServices:
    """Answers services of ``node`` about the policies of ``registry`` and the one in ``slot``.

    ``announce`` publishes the node's status with the reason; ``stopped`` hears when
    ``emergency_stop`` was latched, which it stays whatever the lifecycle does, and with ``latch``
    from one process to the next. ``acting_file`` says which policy acts. Lists and loads, which can
    wait, begin when ``after_tick`` returns.
    """

    def __init__(
        self,
        node: Node,
        slot: PolicySlot,
        emergency_stop: EmergencyStop,
        latch: LatchFile,
        acting_file: ActingFile,
        announce: Callable[[str], None],
        stopped: Callable[[], None],
        after_tick: Callable[[], None],
    ) -> None:
        self._node, self._slot = node, slot
        self._announce, self._stopped = announce, stopped
        self._keeper = ActingKeeper(acting_file, node.get_logger().warning)
        self._registry: PolicyRegistry | None = None
        self._changing = threading.Lock()
        """Held while registry and slot change together: transitions have a thread of their own."""
        self._emergency_stop, self._latch = emergency_stop, latch
        if latch.found():
            emergency_stop.latch()
        self.counts: Counter[str] = Counter()
        """``swaps`` and ``refused_swaps`` since the node started."""
        for kind, name, callback in (
            (SwapPolicy, "~/swap_policy", self._on_swap),
            (Trigger, "~/rollback", self._on_rollback),
            (SetBool, "~/emergency_stop", self._on_emergency_stop),
        ):
            node.create_service(kind, name, self._answer_errors(callback), qos_profile=CALLS)
        self._beside = Beside(node, "loading")
        for kind, name, callback in (
            (ListPolicies, "~/list_policies", self._on_list),
            (LoadPolicy, "~/load_policy", self._on_load),
        ):
            answer = self._answer_errors(_after(after_tick, callback))
            self._beside.create_service(kind, name, answer, CALLS)
        self._beside.start()

    def begin(self, registry: PolicyRegistry, first: str) -> None:
        """Choose from ``registry`` from now on, and put its policy ``first`` into the slot."""
        with self._changing:
            self._slot.start(first, registry.get(first))
            self._registry = registry

    def forget(self) -> None:
        """Have no policies any more."""
        with self._changing:
            self._registry = None
            self._slot.clear()

    def keep_acting(self, asked: Asked) -> None:
        """Keep on disk which policy acts from now on, of a node that is told ``asked``."""
        with self._changing:
            self._keeper.begin(_acting(self._slot.acting), asked)

    def keep_trial(self, trial: OnTrial | None) -> None:
        """Keep on disk, beside the policy that acts, which one is on trial."""
        with self._changing:
            self._keeper.try_out(trial)

    def forget_acting(self) -> None:
        """Keep no policy on disk: none acts, or it was told to stop."""
        with self._changing:
            self._keeper.end()

    def close(self) -> None:
        """List and load no more; return when the disk knows what acts."""
        self._beside.close()
        self._keeper.close()

    def _answer_errors(self, callback: Callable) -> Callable:
        """Answer with an error where an exception would end the executor and hang the client."""

        @functools.wraps(callback)
        def answer(request: Any, response: Any) -> Any:
            try:
                return callback(request, response)
            except Exception as error:  # the edge of the node
                reason = f"{type(error).__name__}: {error}"
                self._node.get_logger().error(f"{callback.__name__}: {reason}")
                if hasattr(response, "success"):
                    response.success = False
                    response.message = reason
                return response

        return answer

    def _on_list(
        self, request: ListPolicies.Request, response: ListPolicies.Response
    ) -> ListPolicies.Response:
        registry, active = self._registry, self._slot.active
        if registry is None or active is None:
            return response
        policies = registry.policies
        response.policies = [policy_info(name, policies[name]) for name in sorted(policies)]
        response.refused = [f"{name}: {why}" for name, why in registry.refused.items()]
        response.active = active.name
        return response

    def _on_load(
        self, request: LoadPolicy.Request, response: LoadPolicy.Response
    ) -> LoadPolicy.Response:
        """Load on the thread of :class:`Beside`."""
        registry = self._registry
        try:
            if registry is None:
                raise PolicyError(NOT_CONFIGURED)
            bundle = registry.load(request.name)
            self._require_current(registry)
        except PolicyError as error:
            response.message = str(error)
            self._node.get_logger().warning(f"not loaded: {error}")
            return response
        registry.put(request.name, bundle)
        response.success = True
        response.message = f"loaded {request.name}"
        response.info = policy_info(request.name, bundle)
        return response

    def _require_current(self, registry: PolicyRegistry) -> None:
        if registry is not self._registry:
            raise PolicyError(CLEANED_UP)

    def _on_swap(
        self, request: SwapPolicy.Request, response: SwapPolicy.Response
    ) -> SwapPolicy.Response:
        requested = time.monotonic()
        registry = self._registry
        response.known = registry.names if registry else []
        try:
            previous = self.swap(request.name, request.blend_seconds, requested)
        except PolicyError as error:
            self.counts["refused_swaps"] += 1
            response.message = str(error)
            response.policy_epoch = self._slot.active.epoch if self._slot.active else 0
            self._node.get_logger().warning(f"swap refused: {error}")
            self._announce(f"swap refused: {error}")
            return response
        response.success = True
        response.policy_epoch = self._slot.acting.epoch
        response.previous = previous
        response.message = f"{request.name} replaces {previous}"
        self._announce(response.message)
        return response

    def swap(self, name: str, blend_seconds: float, requested: float) -> str:
        """Replace the active policy; return the name of the replaced one.

        ``PolicyError`` says why it cannot be, and nothing has changed.
        """
        if not (math.isfinite(blend_seconds) and blend_seconds >= 0):
            raise PolicyError(f"blend_seconds is {blend_seconds}, expected 0 or more")
        with self._changing:
            if self._registry is None:
                raise PolicyError(NOT_CONFIGURED)
            bundle = self._registry.get(name)
            previous = self._slot.acting.name
            swapped = self._slot.swap(name, bundle, blend_seconds, requested)
            self._keeper.replace(_acting(swapped))
        self.counts["swaps"] += 1
        return previous

    def take_back(self, fallback: str, reason: str) -> None:
        """Let ``fallback`` act again, and say why; ``PolicyError`` when it cannot."""
        self.swap(fallback, 0.0, time.monotonic())
        said = f"{reason}: {fallback} acts again"
        self._node.get_logger().warning(said)
        self._announce(said)

    def _on_rollback(
        self, request: Trigger.Request, response: Trigger.Response
    ) -> Trigger.Response:
        requested = time.monotonic()
        try:
            response.message = f"rolled back to {self._roll_back(requested)}"
        except PolicyError as error:
            self.counts["refused_swaps"] += 1
            response.message = str(error)
            self._node.get_logger().warning(f"rollback refused: {error}")
            self._announce(f"rollback refused: {error}")
            return response
        response.success = True
        self._announce(response.message)
        return response

    def _roll_back(self, requested: float) -> str:
        """Let the policy before act again; return its name."""
        with self._changing:
            previous = self._slot.previous
            if self._registry is None or previous is None:
                raise PolicyError("there is no previous policy")
            # The bundle that acted then, even if another was loaded under its name since.
            self._registry.require_trust(previous.bundle)
            swapped = self._slot.swap(previous.name, previous.bundle, requested=requested)
            self._keeper.replace(_acting(swapped))
        self.counts["swaps"] += 1
        return previous.name

    def keep_stop(self, reason: str) -> None:
        """Keep an emergency stop that the loop has latched, and say why."""
        objection = self._latch.write()
        said = f"emergency stop latched: {reason}"
        if objection:
            said += f"; a new policy node would not know of it: {objection}"
        self._node.get_logger().error(said)
        self._announce(said)

    def _on_emergency_stop(
        self, request: SetBool.Request, response: SetBool.Response
    ) -> SetBool.Response:
        if request.data:
            alone = self._emergency_stop.latch()
            self._stopped()
            response.success, response.message = True, "emergency stop latched"
            if not alone:
                response.message += f", but a command has been leaving for {LEAVING_SECONDS:g} s"
            objection = self._latch.write()  # the stop acts already
            if objection:
                response.message += f", but a new policy node would not know of it: {objection}"
        else:
            objection = self._latch.remove()
            if not objection:
                self._emergency_stop.release()
            response.success = not objection
            response.message = "emergency stop released"
            if objection:
                response.message = f"emergency stop still latched: {objection}"
        self._node.get_logger().warning(response.message)
        self._announce(response.message)
        return response


def _acting(policy: ActivePolicy) -> Acting:
    return Acting(policy.name, policy.bundle.sha256)


def _after(event: Callable[[], None], callback: Callable) -> Callable:
    """Return ``callback`` that begins when ``event`` returns."""

    @functools.wraps(callback)
    def later(request: Any, response: Any) -> Any:
        event()
        return callback(request, response)

    return later
