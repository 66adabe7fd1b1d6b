# SPDX-License-Identifier: Apache-2.0
"""``/diagnostics`` of the policy node: figures of its loop, and what is wrong in words."""

from __future__ import annotations

import time
from collections import Counter

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.node import Node
from rclpy.qos import QoSProfile

from pwm_diagnostics import diagnostic_message
from pwm_policy.configuration import Configuration
from pwm_policy.emergency_stop import EmergencyStop
from pwm_policy.fallback import HELD, UNPREDICTED
from pwm_policy.loop import ControlLoop
from pwm_policy.loop_statistics import LoopStatistics
from pwm_policy.monitor import NoveltyWatch

STALE_SHARE = 0.05
"""An operator hears when a larger part of the decisions held an older one for want of input."""


class Health:
    """Publishes a diagnostic whenever asked to."""

    def __init__(
        self,
        node: Node,
        emergency_stop: EmergencyStop,
        statistics: LoopStatistics,
        watch: NoveltyWatch,
    ) -> None:
        self._node, self._emergency_stop = node, emergency_stop
        self._statistics, self._watch = statistics, watch
        self._publisher = node.create_publisher(
            DiagnosticArray, "/diagnostics", QoSProfile(depth=10)
        )
        self._counted: Counter[str] = Counter()

    def publish(
        self,
        state: str,
        failure: str,
        configuration: Configuration | None,
        loop: ControlLoop | None,
        figures: dict[str, object],
    ) -> None:
        """Say how it is: ``failure`` of the last loop or ``""``, ``figures`` beside its own."""
        values: dict[str, object] = {
            "state": state,
            **figures,
            "trigger": self._node.get_parameter("trigger").value,
            "commands_to": ", ".join(configuration.outputs.topics) if configuration else "",
            "novelty": self._watch.peak if self._watch.monitored else "no monitor",
            "novelty_alarms": self._watch.alarms,
            **self._statistics.snapshot(),
        }
        counts = Counter(self._statistics.counts)
        recent, self._counted = counts - self._counted, counts
        level, text = DiagnosticStatus.OK, state
        if failure:
            level, text = DiagnosticStatus.ERROR, failure
        elif warning := self._warning(configuration, loop, recent):
            level, text = DiagnosticStatus.WARN, warning
        elif loop is not None:
            text = "moving to the safe action" if loop.landing else "running"
        name = f"{self._node.get_fully_qualified_name()}: control loop"
        stamp = self._node.get_clock().now().to_msg()
        self._publisher.publish(diagnostic_message(stamp, name, "policy", level, text, values))
        self._watch.look_again()

    def _warning(
        self, configuration: Configuration | None, loop: ControlLoop | None, recent: Counter[str]
    ) -> str:
        """Return what matters most; ``recent`` counts are those since the last time."""
        if self._emergency_stop.latched:
            reason = self._emergency_stop.reason
            return f"emergency stop latched: {reason}" if reason else "emergency stop latched"
        if configuration is None or loop is None or loop.landing:
            return ""  # a robot that lands looks at no observation
        return (
            _silence(configuration, loop, self._stale_since())
            or self._surprise()
            or _strangeness(loop)
            or _delay(configuration, recent)
        )

    def _stale_since(self) -> float:
        return time.monotonic() - float(self._node.get_parameter("stale_timeout").value)

    def _surprise(self) -> str:
        if self._watch.holds:
            return f"novelty: {HELD}"
        return f"novelty {self._watch.peak:.1f}: {UNPREDICTED}" if self._watch.peak > 1 else ""


def _silence(configuration: Configuration, loop: ControlLoop, since: float) -> str:
    """Return what keeps the policy from acting; ``since`` in seconds monotonic."""
    unknown = [] if loop.placed else configuration.pose.unknown(since)
    if unknown:
        return f"silent until joint_states say where these are: {', '.join(unknown)}"
    sample = loop.inbox.newest
    if sample is not None and sample.arrived >= since:
        return ""
    answer = "safe action" if loop.has_spoken else "silent"
    return f"no fresh observation ({configuration.inputs.lack()}): {answer}"


def _strangeness(loop: ControlLoop) -> str:
    """Return which observations the policy never saw in training."""
    entries = ", ".join(loop.out_of_range)
    return f"outside of what the policy was trained on: {entries}" if entries else ""


def _delay(configuration: Configuration, recent: Counter[str]) -> str:
    """Return what did not come in time in the last second."""
    remarks = []
    if recent["missed_ticks"] > 0:
        remarks.append(f"{recent['missed_ticks']} ticks missed in the last second")
    stale = recent["stale_inputs"] / max(1, recent["ticks"])
    if stale > STALE_SHARE:
        held = f"{stale:.0%} of the decisions in the last second held an older one"
        remarks.append(f"{held}, for input comes too rarely ({configuration.inputs.lack()})")
    return "; ".join(remarks)
