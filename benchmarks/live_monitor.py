# SPDX-License-Identifier: Apache-2.0
"""A bundle's monitor in real time: bridge and policy node, two processes beside the wall clock.

Commands then act as late as the machine makes them, and decisions are missed where it is busy.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import Any

import numpy as np
import rclpy
from pwm_interfaces.msg import Action
from std_msgs.msg import Float64

from benchmarks.measure import Row
from benchmarks.monitor import alarms
from pwm_bringup.nodes import NodeProcess, Value
from pwm_bringup.processes import RosProcess, leased_domain, stop_all
from pwm_bringup.session import Session
from pwm_export.bundle import Bundle
from pwm_mujoco.disturbances import Disturbances

BRIDGE = "mujoco_bridge"
PATIENCE = 120.0
"""Seconds for a process to be there and answer."""
CALM = 1.0
"""Seconds without novelty that end a disturbance."""
EVERY_MESSAGE = 1000
NOMINAL: dict[str, Any] = {setting.name: setting.default for setting in fields(Disturbances)}


class LiveRobot:
    """A client of bridge and policy node that notes what novelty is told, and when."""

    def __init__(self, session: Session, bundle: Bundle) -> None:
        self._session, self._bundle = session, bundle
        self._told: list[tuple[float, float]] = []
        self._answered: dict[int, float] = {}
        session.create_subscription(Float64, "policy_node/novelty", self._on_novelty, EVERY_MESSAGE)
        session.create_subscription(Action, "action", self._on_action, EVERY_MESSAGE)
        session.connect()
        session.spin_until(lambda: bool(self._told), "novelty")

    def nominal(self, minutes: float) -> Row:
        """Return what undisturbed minutes brought.

        ``late`` is from an observation to its command, both as heard here, in control steps.
        """
        session = self._session
        session.reset(seed=0)
        begin = len(session.frames)
        self._told.clear()
        session.spin_for(60 * minutes)
        novelty = np.array([value for _, value in self._told])
        heard = [frame for frame in session.frames[begin:] if frame.step in self._answered]
        late = np.array([self._answered[frame.step] - frame.arrived for frame in heard])
        p50, p99, top = (
            np.percentile(np.maximum(0, late), [50, 99, 100]) / self._bundle.control_step
        )
        policy, bridge = session.next_diagnostics()
        return {
            "nominal minutes": minutes,
            "decisions judged": len(novelty),
            "alarms": alarms(novelty),
            "highest novelty": float(novelty.max()),
            "late p50": float(p50),
            "late p99": float(p99),
            "late max": float(top),
            "missed ticks": int(policy["missed_ticks"]),
            "seconds dropped": float(bridge["dropped_seconds"]),
        }

    def delay(
        self, seed: int, onset: float, disturbance: Mapping[str, float], watched: float
    ) -> float:
        """Return the seconds from a disturbance to the first novelty above 1; infinite if unseen.

        It is asked for ``onset`` seconds into the episode of ``seed`` and ``watched`` so long.
        """
        session = self._session
        episode, step = session.reset(seed), self._bundle.control_step
        session.spin_until(
            lambda: (
                session.frames[-1].episode == episode
                and session.frames[-1].episode_step * step >= onset
            ),
            f"{onset:g} s of episode {episode}",
        )
        asked = time.monotonic()
        session.configure(BRIDGE, **disturbance)
        session.spin_for(max(0.0, asked + watched - time.monotonic()))
        novel = [at - asked for at, value in self._told if at > asked and value > 1]
        session.configure(BRIDGE, **{name: NOMINAL[name] for name in disturbance})
        session.reset(seed)
        self._wait_for_calm()
        return min(novel, default=float("inf"))

    def _wait_for_calm(self) -> None:
        self._told.clear()

        def calm() -> bool:
            now = time.monotonic()
            recent = [value for at, value in self._told if at > now - CALM]
            lasting = bool(self._told) and now - self._told[0][0] > CALM
            return lasting and max(recent, default=0.0) < 1

        self._session.spin_until(calm, "a robot that moves as predicted")

    def _on_novelty(self, message: Float64) -> None:
        self._told.append((time.monotonic(), message.data))

    def _on_action(self, message: Action) -> None:
        self._answered.setdefault(message.observation_step, time.monotonic())


@contextlib.contextmanager
def live_robot(bundle: Bundle, trigger: str) -> Iterator[LiveRobot]:
    """Run a bridge and a policy node with ``bundle`` in real time."""
    simulator: dict[str, Value] = {"task": bundle.task, "mode": "realtime"}
    policy: dict[str, Value] = {
        "policy_dir": str(bundle.path.parent),
        "policy": bundle.path.stem,
        "trigger": trigger,
    }
    nodes = (
        NodeProcess("pwm_mujoco", BRIDGE, simulator),
        NodeProcess("pwm_policy", "policy_node", policy),
    )
    with leased_domain() as domain, contextlib.ExitStack() as cleanup:
        rclpy.init(domain_id=domain)
        cleanup.callback(rclpy.shutdown)
        session = Session(patience=PATIENCE)
        cleanup.callback(session.close)
        processes = [RosProcess.of_node(node, domain=domain, log_level="error") for node in nodes]
        cleanup.callback(stop_all, processes)
        yield LiveRobot(session, bundle)
