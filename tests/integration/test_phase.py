# SPDX-License-Identifier: Apache-2.0
"""A policy node on its clock beside observations that leave the phase, over DDS."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import pytest

from pwm_core.tasks import get_task

TASK = get_task("cartpole-balance")


class Sensor:
    """Publishes observations on deadlines of its own; they can be moved."""

    def __init__(self, publish: Callable[[int], None]) -> None:
        self._publish, self._stopped = publish, threading.Event()
        self.pause = 0.0
        """Seconds that the next observation comes late, and all after it."""
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        due, step = time.monotonic(), 0
        while not self._stopped.wait(max(0.0, due - time.monotonic())):
            self._publish(step)
            pause, self.pause = self.pause, 0.0
            due, step = due + TASK.control_step + pause, step + 1

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join(timeout=5)


@pytest.fixture
def sensor(session, until) -> Iterator[Sensor]:
    from pwm_interfaces.msg import Observation

    publisher = session.create_publisher(Observation, "observation", 10)
    data, layout = [0.1, 1.0, 0.0, 0.0, 0.0], TASK.observation.hash()

    def publish(step: int) -> None:
        publisher.publish(Observation(task=TASK.name, layout_hash=layout, data=data, step=step))

    found = Sensor(publish)
    yield found
    found.stop()


def test_ticks_return_to_observations_that_have_moved(
    make_bundle, start_policy, session, until, actions, sensor
) -> None:
    def shifts() -> int:
        return int(session.diagnostics.get("policy_node", {}).get("phase_shifts", 0))

    make_bundle("upright")
    start_policy(trigger="clock", stale_timeout=60.0)
    until(lambda: len(actions) > 10, "actions")
    for _ in range(2):
        before = shifts()
        sensor.pause = 0.4 * TASK.control_step
        until(lambda before=before: shifts() > before, "ticks to follow the observations")
