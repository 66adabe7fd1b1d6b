# SPDX-License-Identifier: Apache-2.0
"""What running nodes publish, recorded as rosbag2 does, is a dataset.

rosbag2 has no wheels: the bag is written with the mcap library from the nodes' own bytes.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
from mcap.writer import Writer

from pwm_core.data.dataset import Dataset
from pwm_core.data.formats.mcap import McapBag
from pwm_core.data.formats.source import import_sources
from pwm_core.tasks import get_task

SWINGING = (1.0, 0.5, -2.0, 0.3, 0.7)
INTERFACES = Path(__file__).parents[2] / "ros2_ws/src/pwm_interfaces/msg"
SEPARATOR = "=" * 80
PATIENCE = 20
"""Episodes until one is recorded whole: on a busy machine a recorder falls behind by more than
the ten actions that a node keeps for it, and the bag then lacks some."""


class Recorder:
    """Writes every message of some topics, undecoded, in the order of arrival."""

    def __init__(self, session: Any, path: Path) -> None:
        from pwm_interfaces.msg import Action, Observation

        self.observed: set[int] = set()
        """Numbers of the observations recorded."""
        self.answered: set[int] = set()
        """Numbers of those that a recorded action answers."""
        self._file = open(path, "wb")  # noqa: SIM115 (closed by ``close``)
        self._writer = Writer(self._file)
        self._writer.start(profile="ros2", library="test")
        for kind, topic in ((Observation, "observation"), (Action, "action")):
            name = kind.__name__
            schema = self._writer.register_schema(
                f"pwm_interfaces/msg/{name}", "ros2msg", self._definition(name).encode()
            )
            channel = self._writer.register_channel(f"/{topic}", "cdr", schema)
            if kind is Observation:
                self._observations = channel
            session.create_subscription(
                kind,
                topic,
                lambda data, channel=channel: self._write(channel, data),
                2000,
                raw=True,
            )

    def _definition(self, name: str) -> str:
        parts = [(INTERFACES / f"{name}.msg").read_text()]
        parts += ["MSG: std_msgs/Header\nbuiltin_interfaces/Time stamp\nstring frame_id\n"]
        parts += ["MSG: builtin_interfaces/Time\nint32 sec\nuint32 nanosec\n"]
        return f"{SEPARATOR}\n".join(parts)

    def _write(self, channel: int, data: bytes) -> None:
        from pwm_interfaces.msg import Action, Observation
        from rclpy.serialization import deserialize_message

        now = time.time_ns()
        if channel == self._observations:
            self.observed.add(deserialize_message(data, Observation).step)
        else:
            self.answered.add(deserialize_message(data, Action).observation_step)
        self._writer.add_message(channel, log_time=now, data=data, publish_time=now)

    def close(self) -> None:
        self._writer.finish()
        self._file.close()


def test_a_recorded_episode_is_the_simulators_own(
    make_bundle, start_bridge, start_policy, session, until, tmp_path: Path
) -> None:
    from pwm_bringup.session import run_lockstep

    make_bundle("swinging", SWINGING, task="cartpole-swingup")
    recorder = Recorder(session, tmp_path / "drive.mcap")
    start_bridge(task="cartpole-swingup", mode="lockstep")
    start_policy(trigger="observation")
    for _ in range(PATIENCE):
        record = run_lockstep(session, "", "swinging", seed=5)
        steps = [frame.step for frame in session.frames[-501:]]
        settled = time.monotonic() + 0.5
        until(lambda end=settled: time.monotonic() > end, "what is still on its way")
        if recorder.observed.issuperset(steps) and recorder.answered.issuperset(steps[:-1]):
            break
    recorder.close()

    import_sources([McapBag(tmp_path / "drive.mcap")], tmp_path / "data")
    data = Dataset(tmp_path / "data")
    data.validate()
    episode = max(data.episodes, key=lambda e: e.length)
    assert (episode.task, episode.length) == ("cartpole-swingup", 500)
    np.testing.assert_allclose(episode.total_reward, record["return"], rtol=1e-5)

    environment = get_task("cartpole-swingup").make_single(0)
    observation, _ = environment.reset(seed=5)
    recorded = data.trajectory(episode)
    for step, action in enumerate(recorded.action[:50]):
        np.testing.assert_allclose(recorded.observation[step], observation, atol=1e-4)
        observation, reward, *_ = environment.step(action)
        np.testing.assert_allclose(recorded.reward[step], reward, atol=1e-4)
