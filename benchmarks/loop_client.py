# SPDX-License-Identifier: Apache-2.0
"""Feeds control loops in other processes and notes when they answer."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

import numpy as np
import psutil
from pwm_interfaces.msg import Action, Observation
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node

from pwm_export.bundle import Bundle

PATIENCE = 60.0
"""Seconds for a process to be there and answer."""
FEWEST = 20
"""Answers that a block has at least, however long they take."""
SETTLING = 0.5
"""Seconds of each block before anything counts: the process has just been woken."""


@dataclass
class Block:
    """What a block of observations brought."""

    period: float
    """Seconds between decisions."""
    sent: dict[int, float] = field(default_factory=dict)
    """When each observation was published, seconds monotonic, by step."""
    latencies: dict[int, float] = field(default_factory=dict)
    """Seconds until its first answer arrived, by step."""
    stamps: dict[int, float] = field(default_factory=dict)
    """Stamp of each action in seconds, by sequence number."""
    epochs: list[int] = field(default_factory=list)
    """Policy epochs in the order of arrival."""
    cpu: float = 0.0
    """CPU seconds of the process per second."""

    @property
    def period_errors(self) -> np.ndarray:
        """Absolute errors of the time between consecutive actions, seconds."""
        return np.abs(self._periods - self.period)

    @property
    def missed(self) -> int:
        """Periods that went by without an action."""
        return int(np.maximum(0, np.round(self._periods / self.period) - 1).sum())

    @property
    def _periods(self) -> np.ndarray:
        numbers, stamps = np.array(list(self.stamps)), np.array(list(self.stamps.values()))
        return np.diff(stamps)[np.diff(numbers) == 1]


class Load(Protocol):
    """Something to do during a block, which ends with it."""

    def begin(self) -> None:
        """Start."""

    def going_on(self, block: Block) -> bool:
        """Do what is due, once a decision; return whether it is not over yet."""


class LoopClient(Node):
    """Publishes observations at a rate and hears the actions of one namespace at a time."""

    def __init__(self, bundle: Bundle) -> None:
        super().__init__("loop_client")
        self._bundle = bundle
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self)
        self._step = 0

    def connect(self, namespace: str, period: float) -> Feed:
        """Return a feed whose loop has answered."""
        return Feed(self, namespace, period)

    def spin_until(self, condition: Callable[[], bool], what: str) -> None:
        """Handle messages until ``condition`` holds; ``TimeoutError`` after a minute."""
        end = time.monotonic() + PATIENCE
        while not condition():
            if time.monotonic() > end:
                raise TimeoutError(f"waited {PATIENCE:.0f} s for {what}")
            self._executor.spin_once(timeout_sec=0.1)

    def spin_to(self, deadline: float) -> None:
        """Handle messages until a time."""
        while (left := deadline - time.monotonic()) > 0:
            self._executor.spin_once(timeout_sec=left)

    def observation(self) -> Observation:
        """Return the next observation of the bundle's layout."""
        self._step += 1
        layout = self._bundle.observation
        data = np.sin(0.01 * self._step + np.arange(layout.size)).astype(np.float32)
        return Observation(step=self._step, layout_hash=layout.hash(), data=data.tolist())


class Feed:
    """Observations to one loop and its answers."""

    def __init__(self, client: LoopClient, namespace: str, period: float) -> None:
        self._client, self._period = client, period
        self._observations = client.create_publisher(Observation, f"{namespace}/observation", 50)
        self._block = Block(period)
        self._counts = False
        client.create_subscription(Action, f"{namespace}/action", self._on_action, 1000)
        client.spin_until(
            lambda: self._observations.get_subscription_count() > 0, f"the loop of {namespace}"
        )
        client.spin_until(self._answered, f"an answer of {namespace}")

    def run(self, seconds: float, process: int, load: Load | None = None) -> Block:
        """Feed for ``seconds`` at least, or until ``load`` is over; return what came of it."""
        self._feed_while(_before(time.monotonic() + SETTLING))
        self._block, self._counts = Block(self._period), True
        own, begin = psutil.Process(process), time.monotonic()
        before = sum(own.cpu_times()[:2])
        if load is not None:
            load.begin()
        short = _before(begin + seconds) if load is None else partial(load.going_on, self._block)
        self._feed_while(lambda: short() or len(self._block.latencies) < FEWEST)
        self._block.cpu = (sum(own.cpu_times()[:2]) - before) / (time.monotonic() - begin)
        self._counts = False
        return self._block

    def _answered(self) -> bool:
        self._counts = True
        self._send()
        return bool(self._block.latencies)

    def _feed_while(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic()
        while condition():
            self._client.spin_to(deadline)
            self._send()
            deadline = max(deadline + self._period, time.monotonic())

    def _send(self) -> None:
        message = self._client.observation()
        self._block.sent[message.step] = time.monotonic()
        self._observations.publish(message)

    def _on_action(self, action: Action) -> None:
        arrived = time.monotonic()
        block, step = self._block, action.observation_step
        if not self._counts or step not in block.sent:
            return
        block.latencies.setdefault(step, arrived - block.sent[step])
        stamp = action.header.stamp
        block.stamps[action.sequence] = stamp.sec + 1e-9 * stamp.nanosec
        block.epochs.append(action.policy_epoch)


def _before(end: float) -> Callable[[], bool]:
    return lambda: time.monotonic() < end
