# SPDX-License-Identifier: Apache-2.0
"""What ``recorder`` writes of running nodes is a dataset, and a bag as rosbag2 makes them."""

from __future__ import annotations

import os
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from mcap.reader import make_reader
from mcap_ros2.decoder import DecoderFactory

from pwm_core.data.dataset import Dataset
from pwm_core.data.formats.mcap import McapBag
from pwm_core.data.formats.source import import_sources
from pwm_core.tasks import get_task

SWINGING = (1.0, 0.5, -2.0, 0.3, 0.7)
EPISODES = 2
"""Tries for one that is recorded whole: on a busy machine messages may be lost."""


@pytest.fixture
def recorder(start, session, until, tmp_path: Path):
    """Start ``recorder`` and wait until it listens to some topics."""

    def make(*topics: str, **parameters: Any) -> Any:
        process = start("pwm_bringup", "recorder", directory=str(tmp_path / "bags"), **parameters)

        def listening(topic: str) -> bool:
            endpoints = session.get_subscriptions_info_by_topic(topic)
            return any(endpoint.node_name == "recorder" for endpoint in endpoints)

        until(lambda: all(map(listening, topics)), "the recorder")
        return process

    return make


def the_bag(tmp_path: Path) -> Path:
    (folder,) = (tmp_path / "bags").iterdir()
    return folder


def test_a_recorded_episode_is_the_simulators_own(
    make_bundle, start_bridge, start_policy, session, recorder, tmp_path: Path
) -> None:
    from pwm_bringup.session import run_lockstep

    make_bundle("swinging", SWINGING, task="cartpole-swingup")
    start_bridge(task="cartpole-swingup", mode="lockstep")
    start_policy(trigger="observation", stale_timeout=60.0)  # a busy machine is no fault
    process = recorder("observation", "action")
    for _ in range(EPISODES):
        record = run_lockstep(session, "", "swinging", seed=5)
    process.interrupt()
    assert process.wait(timeout=60) == 0

    import_sources([McapBag(the_bag(tmp_path))], tmp_path / "data")
    data = Dataset(tmp_path / "data")
    data.validate()
    environment = get_task("cartpole-swingup").make_single(0)
    observation, _ = environment.reset(seed=5)
    # The nodes run episodes of their own before the client asks for its first.
    whole = [
        episode
        for episode in data.episodes
        if episode.length == 500
        and np.allclose(data.trajectory(episode).observation[0], observation, atol=1e-4)
    ]
    assert whole, f"none of {len(data.episodes)} episodes is whole and of seed 5"
    episode = whole[0]
    assert episode.task == "cartpole-swingup"
    np.testing.assert_allclose(episode.total_reward, record["return"], rtol=1e-5)
    recorded = data.trajectory(episode)
    for step, action in enumerate(recorded.action[:50]):
        np.testing.assert_allclose(recorded.observation[step], observation, atol=1e-4)
        observation, reward, *_ = environment.step(action)
        np.testing.assert_allclose(recorded.reward[step], reward, atol=1e-4)

    topics = check_as_rosbag2_would(the_bag(tmp_path))
    assert {"/observation", "/action", "/joint_states", "/policy_node/status"} <= topics


def check_as_rosbag2_would(folder: Path) -> set[str]:
    """Compare ``metadata.yaml`` with what is in the file; return the topics with messages."""
    information = yaml.safe_load((folder / "metadata.yaml").read_text())
    bag = information["rosbag2_bagfile_information"]
    (name,) = bag["relative_file_paths"]
    counts: Counter[str] = Counter()
    with open(folder / name, "rb") as stream:
        reader = make_reader(stream, decoder_factories=[DecoderFactory()])
        assert reader.get_header().profile == "ros2"
        for _, channel, _, _ in reader.iter_decoded_messages():
            counts[channel.topic] += 1
    told = {
        topic["topic_metadata"]["name"]: topic["message_count"]
        for topic in bag["topics_with_message_count"]
    }
    assert {topic: count for topic, count in told.items() if count} == counts
    assert bag["message_count"] == counts.total()
    for topic in bag["topics_with_message_count"]:
        about = topic["topic_metadata"]
        assert about["type_description_hash"].startswith("RIHS01_")
        assert about["offered_qos_profiles"][0]["reliability"] == "reliable"
    return set(counts)


def test_a_killed_recorder_leaves_what_it_flushed(
    make_bundle, start_bridge, start_policy, until, recorder, tmp_path: Path
) -> None:
    make_bundle("upright")
    start_bridge(mode="realtime")
    start_policy()
    process = recorder("observation", "action")

    def flushed() -> int:
        """Messages of both topics that are on disk, of the rarer one."""
        files = list((tmp_path / "bags").glob("*/metadata.yaml"))
        text = yaml.safe_load(files[0].read_text()) if files else None
        topics = text["rosbag2_bagfile_information"]["topics_with_message_count"] if text else []
        counts = {topic["topic_metadata"]["name"]: topic["message_count"] for topic in topics}
        return min(counts.get(name, 0) for name in ("/observation", "/action"))

    until(lambda: flushed() > 100, "messages on disk")
    least = flushed()
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait(timeout=30) == -signal.SIGKILL
    bag = McapBag(the_bag(tmp_path))
    assert [file.parent for file in bag.unclosed] == [the_bag(tmp_path)]
    import_sources([bag], tmp_path / "data")
    data = Dataset(tmp_path / "data")
    data.validate()
    decisions = sum(episode.length for episode in data.episodes)
    assert decisions > least / 4


def test_publishers_that_offer_less_join_late(session, recorder, until, tmp_path: Path) -> None:
    from rclpy.qos import QoSDurabilityPolicy, QoSProfile, QoSReliabilityPolicy
    from sensor_msgs.msg import JointState

    latched = QoSProfile(depth=1, durability=QoSDurabilityPolicy.TRANSIENT_LOCAL)
    hasty = QoSProfile(depth=10, reliability=QoSReliabilityPolicy.BEST_EFFORT)
    early = session.create_publisher(JointState, "measured", latched)
    early.publish(JointState(name=["early"]))
    process = recorder("measured", topics=["meas*"])
    until(lambda: recorded(session) == 1, "the message from before the recorder")
    late = session.create_publisher(JointState, "measured", hasty)
    until(late.get_subscription_count, "a subscription that suits both")

    def heard() -> bool:
        late.publish(JointState(name=["late"]))
        return recorded(session) > 10

    until(heard, "messages of the late publisher")
    process.interrupt()
    assert process.wait(timeout=60) == 0
    (file,) = the_bag(tmp_path).glob("*.mcap")
    with open(file, "rb") as stream:
        reader = make_reader(stream, decoder_factories=[DecoderFactory()])
        names = [tuple(message.name) for _, _, _, message in reader.iter_decoded_messages()]
    assert names[0] == ("early",)
    assert names.count(("late",)) > 5


def recorded(session: Any) -> int:
    return int(session.diagnostics.get("recorder", {}).get("messages", 0))
