# SPDX-License-Identifier: Apache-2.0
"""Listens to the running policy and writes what it lives through to the online data."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any

import numpy as np
from pwm_interfaces.msg import Action, Observation
from rclpy.node import Node
from rclpy.qos import QoSProfile
from std_msgs.msg import Float64

from pwm_core.data.dataset import TaskInfo
from pwm_core.data.schema import DatasetError
from pwm_finetune.commands import Sent
from pwm_finetune.data import OnlineData
from pwm_finetune.reward_topic import RewardTopic
from pwm_finetune.rewards import TOPIC, reward_function
from pwm_finetune.transitions import Observed, Outcome, Pairing, Stretch

EVERY_MESSAGE = QoSProfile(depth=2000)
QUIET_SECONDS = 1.0
"""After so long without a message nothing more comes for what was heard."""


@dataclass(frozen=True)
class Topics:
    """What the recorder listens to."""

    observation: str
    action: str
    reward: str
    """``message``, ``topic``, or ``MODULE:FUNCTION``."""
    reward_topic: str


class Recorder:
    """Records from construction on, while ``recording`` is set.

    ``outcome`` hears of each whole episode, recorded or not.
    """

    def __init__(
        self,
        node: Node,
        topics: Topics,
        task: TaskInfo,
        data: OnlineData,
        outcome: Callable[[Outcome], None],
    ) -> None:
        """``ValueError`` when the reward function does not exist."""
        self.recording = False
        self.refused = 0
        """Messages of another task, layout or robot."""
        self.failure = ""
        """Why what was heard could not be used; empty since a stretch was written."""
        self._node, self._task, self._data = node, task, data
        self._hash = task.observation.hash()
        self._pairing = Pairing(self._on_stretch, outcome, reward_function(topics.reward))
        self._rewards = RewardTopic(self._pairing.observe) if topics.reward == TOPIC else None
        self._began: int | None = None
        self._heard_at = math.inf
        node.create_subscription(
            Observation, topics.observation, self._safely(self._on_observation), EVERY_MESSAGE
        )
        node.create_subscription(
            Action, topics.action, self._safely(self._on_action), EVERY_MESSAGE
        )
        if self._rewards is not None:
            node.create_subscription(
                Float64, topics.reward_topic, self._safely(self._on_reward), EVERY_MESSAGE
            )

    @property
    def gaps(self) -> dict[str, int]:
        """Transitions that were left out, by reason."""
        return dict(self._pairing.gaps)

    def look(self) -> None:
        """Decide on what was heard last when nothing follows it; to be called now and then."""
        if time.monotonic() - self._heard_at > QUIET_SECONDS:
            self._heard_at = math.inf
            self._safely(self._flush)()

    def _flush(self) -> None:
        if self._rewards is not None:
            self._rewards.flush()
        self._pairing.flush()

    def _on_observation(self, message: Observation, info: dict[str, Any]) -> None:
        if (message.task, message.layout_hash) != (self._task.name, self._hash):
            self._refuse(
                f"observation of {message.task!r} with layout {message.layout_hash}, expected "
                f"{self._task.name!r} with {self._hash}"
            )
            return
        if len(message.data) != self._task.observation.size:
            self._refuse(
                f"observation has {len(message.data)} values, expected "
                f"{self._task.observation.size}"
            )
            return
        self._heard_at = time.monotonic()
        episode, episode_step, truncated = self._place(message)
        data = np.array(message.data, np.float32)
        observed = Observed(
            message.step,
            episode,
            episode_step,
            data,
            message.reward,
            message.terminated,
            truncated,
            message.episode_return,
            info["source_timestamp"],
        )
        if self._rewards is None:
            self._pairing.observe(observed)
        else:
            self._rewards.observe(observed)

    def _place(self, message: Observation) -> tuple[int, int, bool]:
        """Return episode, decisions taken in it, and whether it ends here.

        A robot knows no episodes (its return is NaN): its time is divided into the task's.
        """
        if not math.isnan(message.episode_return):
            return message.episode, message.episode_step, message.truncated
        steps = self._task.episode_steps
        if self._began is None or message.step < self._began:
            self._began = message.step
        episode, passed = divmod(message.step - self._began, steps + 1)
        return episode, passed, passed == steps

    def _on_action(self, message: Action, info: dict[str, Any]) -> None:
        values = dict(zip(message.names, message.values, strict=False))
        layout = self._task.action
        if set(values) != set(layout.names):
            self._refuse(f"action has actuators {sorted(values)}, expected {list(layout.names)}")
            return
        self._heard_at = time.monotonic()
        command = np.array([values[name] for name in layout.names], np.float64)
        self._pairing.send(
            Sent(
                message.observation_step,
                message.policy,
                message.policy_epoch,
                layout.to_normalised(command).astype(np.float32),
                message.safe,
                message.sequence,
                info["source_timestamp"],
            )
        )

    def _on_reward(self, message: Float64, info: dict[str, Any]) -> None:
        assert self._rewards is not None
        self._rewards.earn(message.data, info["source_timestamp"])

    def _on_stretch(self, stretch: Stretch) -> None:
        if not self.recording:
            return
        try:
            self._data.add(stretch)
        except (DatasetError, OSError) as error:
            self._fail(str(error))
        else:
            self.failure = ""

    def _safely(self, callback: Callable[..., None]) -> Callable[..., None]:
        """Note an exception, of a reward function say: a callback that raises ends the node."""

        @wraps(callback)  # rclpy tells by the signature whether to pass a message's times
        def guarded(*heard: Any) -> None:
            try:
                callback(*heard)
            except Exception as error:  # the edge of the node
                self._fail(f"{type(error).__name__}: {error}")

        return guarded

    def _fail(self, failure: str) -> None:
        self.failure = f"not recorded: {failure}"
        self._node.get_logger().error(self.failure, throttle_duration_sec=5.0)

    def _refuse(self, objection: str) -> None:
        self.refused += 1
        self._node.get_logger().warning(f"not recorded: {objection}", throttle_duration_sec=5.0)
