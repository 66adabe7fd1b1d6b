# SPDX-License-Identifier: Apache-2.0
"""Judges each tick by the acting policy's world-model monitor. No ROS, no torch."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from pwm_export.monitor import Detector
from pwm_policy.loop import Command
from pwm_policy.slot import PolicySlot


class NoveltyWatch:
    """Sees every tick of the control loop; hears of nothing while the policy has no monitor.

    ``published`` gets the novelty of each decision, above 1 when the robot does not move as the
    world model predicts. ``alarmed`` hears once, with the novelty, when it rises above 1.
    """

    def __init__(
        self,
        slot: PolicySlot,
        published: Callable[[float], None],
        alarmed: Callable[[float], None],
    ) -> None:
        self._slot, self._published, self._alarmed = slot, published, alarmed
        self._detector: Detector | None = None
        self._epoch = 0
        self._last_step = 0
        self._held_epoch: int | None = None
        self._novelty = 0.0
        self.peak = 0.0
        """The highest novelty since :meth:`look_again`."""
        self.alarms = 0
        """Times the novelty has risen above 1 since the node was configured."""

    @property
    def holds(self) -> bool:
        """Whether only the safe action is left, until another policy is swapped in."""
        active = self._slot.active
        return active is not None and active.epoch == self._held_epoch

    def hold(self) -> None:
        """Leave only the safe action to the policy that was judged last, in its epoch."""
        self._held_epoch = self._epoch

    @property
    def monitored(self) -> bool:
        """Whether there is an acting policy, and it has a monitor."""
        active = self._slot.active
        return active is not None and active.bundle.monitor is not None

    def restart(self) -> None:
        """Forget what was seen: another loop begins."""
        self._epoch = 0

    def look_again(self) -> None:
        """Forget the peak that was told."""
        self.peak = self._novelty

    def __call__(self, observation: np.ndarray, command: Command, fresh: bool) -> None:
        """Judge the transition that led to ``observation [O]``, which ``command`` answers.

        The safe action is not the policy's doing: it is not judged.
        """
        if command.epoch != self._epoch:
            self._begin(command.epoch)
        if self._detector is None:
            return
        if command.safe:
            self._detector.restart()
            self._judge(0.0)
        elif not fresh:
            self._detector.interrupt()
        elif command.observation_step == self._last_step:
            self._judge(self._novelty)  # decided on again: the robot has said nothing new
        else:
            if command.observation_step != self._last_step + 1:
                self._detector.interrupt()
            self._judge(self._detector.observe(observation, command.values))
        self._last_step = command.observation_step

    def _begin(self, epoch: int) -> None:
        monitor = self._slot.acting.bundle.monitor
        self._detector = Detector(monitor) if monitor else None
        self._epoch = epoch
        self._novelty = 0.0

    def _judge(self, novelty: float) -> None:
        risen = novelty > 1.0 >= self._novelty
        self._novelty = novelty
        self.peak = max(self.peak, novelty)
        self._published(novelty)
        if risen:
            self.alarms += 1
            self._alarmed(novelty)
