# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import logging
import threading
from types import SimpleNamespace
from typing import Any

from builtin_interfaces.msg import Time

from pwm_policy.emergency_stop import EmergencyStop
from pwm_policy.slot import PolicySlot
from pwm_policy.status import Status


class SlowNode:
    """A node whose publisher lets one message at a time go on."""

    def __init__(self) -> None:
        self.published: list[Any] = []
        self.publishing, self.go_on = threading.Event(), threading.Event()

    def create_publisher(self, *_: Any) -> Any:
        return SimpleNamespace(publish=self._publish)

    def get_logger(self) -> logging.Logger:
        return logging.getLogger("slow_node")

    def get_clock(self) -> Any:
        return SimpleNamespace(now=lambda: SimpleNamespace(to_msg=Time))

    def _publish(self, message: Any) -> None:
        self.publishing.set()
        assert self.go_on.wait(60)
        self.published.append(message)


def test_what_is_published_last_is_the_newest() -> None:
    """The one of two threads that spoke first does not come last, with a state that was."""
    node, stop = SlowNode(), EmergencyStop()
    status = Status(node, PolicySlot(), stop)
    slow = threading.Thread(target=status.say, args=("before",))
    slow.start()
    assert node.publishing.wait(60)
    stop.latch()
    others = [
        threading.Thread(target=status.enter, args=("active", "activated upright")),
        threading.Thread(target=status.say, args=("emergency stop latched",)),
    ]
    for other in others:
        other.start()
        other.join(0.05)
    assert not node.published, "the first is on its way"
    assert status.state == "unconfigured", "nobody changes what is being said"
    node.go_on.set()
    for thread in (slow, *others):
        thread.join(10)
    assert node.published[0].reason == "before"
    assert (node.published[0].state, node.published[0].emergency_stop) == ("unconfigured", False)
    assert (node.published[-1].state, node.published[-1].emergency_stop) == ("active", True)
