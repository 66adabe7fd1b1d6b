# SPDX-License-Identifier: Apache-2.0
"""Bags on disk: read back with the mcap library, also when the disk or the process failed."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest
import yaml
from mcap.exceptions import EndOfFile
from mcap.reader import NonSeekingReader, make_reader

from pwm_bringup.bag import Bag, new_folder
from pwm_bringup.bag_metadata import Topic
from pwm_bringup.recording import Message, Recording

TEXT = Topic("/text", "std_msgs/msg/String", "string data\n", "RIHS01_0", ({"depth": 1},))
LIMITED = """
import resource, sys
from pathlib import Path
from pwm_bringup.bag import Bag
from pwm_bringup.bag_metadata import Topic
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
bag = Bag(Path(sys.argv[1]), 10**9)
bag.add_topic(Topic("/text", "std_msgs/msg/String", "string data"))
import random
noise = random.Random(0)
for number in range(1000):
    bag.write("/text", noise.randbytes(1000), number, number)
    if number % 10 == 9:
        bag.flush()
        print(number + 1, flush=True)
"""


def read(file: Path) -> list[bytes]:
    with open(file, "rb") as stream:
        return [message.data for _, _, message in make_reader(stream).iter_messages()]


def read_unclosed(file: Path) -> list[bytes]:
    data: list[bytes] = []
    with open(file, "rb") as stream:
        reader = NonSeekingReader(stream, validate_crcs=True)
        messages = reader.iter_messages(log_time_order=False)
        with pytest.raises(EndOfFile):
            data.extend(message.data for _, _, message in messages)
    return data


def metadata(folder: Path) -> dict:
    return yaml.safe_load((folder / "metadata.yaml").read_text())["rosbag2_bagfile_information"]


@pytest.fixture
def make_bag(tmp_path: Path) -> Callable[..., Bag]:
    def make(max_file_size: int = 10**9, **limits: int) -> Bag:
        bag = Bag(tmp_path / "drive", max_file_size, **limits)
        bag.add_topic(TEXT)
        return bag

    return make


def test_what_was_written_is_read_back(make_bag) -> None:
    bag = make_bag()
    for number in range(5):
        bag.write("/text", b"%d" % number, 100 + number, 90 + number)
    bag.close()
    assert read(bag.path) == [b"0", b"1", b"2", b"3", b"4"]
    with open(bag.path, "rb") as stream:
        summary = make_reader(stream).get_summary()
    assert summary is not None
    (channel,), (schema,) = summary.channels.values(), summary.schemas.values()
    assert (channel.topic, channel.message_encoding) == ("/text", "cdr")
    assert channel.metadata == {
        "offered_qos_profiles": "- depth: 1\n",
        "topic_type_hash": "RIHS01_0",
    }
    assert (schema.name, schema.encoding) == ("std_msgs/msg/String", "ros2msg")
    information = metadata(bag.folder)
    assert information["version"] == 9
    assert information["message_count"] == 5
    assert information["starting_time"] == {"nanoseconds_since_epoch": 100}
    assert information["duration"] == {"nanoseconds": 4}
    assert information["relative_file_paths"] == ["drive_0.mcap"]
    (topic,) = information["topics_with_message_count"]
    assert topic["message_count"] == 5
    assert topic["topic_metadata"]["offered_qos_profiles"] == [{"depth": 1}]


def test_without_a_close_everything_flushed_is_there(make_bag) -> None:
    bag = make_bag()
    bag.write("/text", b"kept", 1, 1)
    bag.flush()
    bag.write("/text", b"lost", 2, 2)
    assert read_unclosed(bag.path) == [b"kept"]
    assert metadata(bag.folder)["message_count"] == 1
    bag.close()


def test_full_files_are_followed_by_the_next_and_the_oldest_go(make_bag) -> None:
    bag = make_bag(max_file_size=1, max_files=2)
    for number in range(4):
        bag.write("/text", b"%d" % number, number, number)
        bag.flush()
    bag.close()
    files = sorted(bag.folder.glob("*.mcap"))
    assert [file.name for file in files] == ["drive_3.mcap", "drive_4.mcap"]
    assert [read(file) for file in files] == [[b"3"], []]
    information = metadata(bag.folder)
    assert information["relative_file_paths"] == ["drive_3.mcap", "drive_4.mcap"]
    assert information["message_count"] == 1


LATCHED = {"depth": 1, "durability": "transient_local"}


def test_each_file_begins_with_what_was_latched(make_bag) -> None:
    bag = make_bag(max_file_size=1)
    bag.add_topic(Topic("/status", "std_msgs/msg/String", "string data", qos=(LATCHED,)))
    for number, topic in enumerate(["/status", "/tf_static", "/status", "/tf_static", "/text"]):
        if topic == "/tf_static":  # another publisher joins
            offered = (LATCHED,) * (1 + number // 2)
            bag.add_topic(Topic(topic, "std_msgs/msg/String", "string data", qos=offered))
        bag.write(topic, b"%d" % number, 100 + number, 90 + number)
    for number in (5, 6):
        bag.flush()
        bag.write("/text", b"%d" % number, 100 + number, 90 + number)
    bag.close()
    first, *later = sorted(bag.folder.glob("*.mcap"))
    assert read(first) == [b"0", b"1", b"2", b"3", b"4"]
    assert [read(file) for file in later] == [
        [b"2", b"1", b"3", b"5"],
        [b"2", b"1", b"3", b"6"],
    ]
    with open(later[1], "rb") as stream:
        times = [
            (message.publish_time, message.log_time)
            for _, _, message in make_reader(stream).iter_messages()
        ]
    assert times == [(92, 105), (91, 105), (93, 105), (96, 106)]
    assert metadata(bag.folder)["message_count"] == 5 + 4 + 4


def test_what_is_latched_is_there_though_its_file_is_gone(make_bag) -> None:
    bag = make_bag(max_file_size=300, max_files=2)
    bag.add_topic(Topic("/status", "std_msgs/msg/String", "string data", qos=(LATCHED,)))
    bag.write("/status", b"active", 1, 1)
    for _ in range(3):
        bag.write("/text", bytes(300), 2, 2)
        bag.flush()
    bag.close()
    assert [read(file)[0] for file in sorted(bag.folder.glob("*.mcap"))] == [b"active"] * 2


def test_the_bag_ends_closed_before_the_disk_is_full(make_bag) -> None:
    bag = make_bag(min_free=10**18)
    bag.write("/text", b"kept", 1, 1)
    with pytest.raises(OSError, match="less than 1000000000000000000 bytes are free"):
        bag.flush()
    assert read(bag.path) == [b"kept"]


def test_a_disk_that_takes_no_more_leaves_what_was_flushed(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(tmp_path / "drive")], capture_output=True, text=True
    )
    assert "File too large" in done.stderr
    flushed = int(done.stdout.split()[-1])
    assert flushed > 50
    assert len(read_unclosed(tmp_path / "drive" / "drive_0.mcap")) == flushed
    assert metadata(tmp_path / "drive")["message_count"] == flushed


def test_a_recording_writes_beside_and_says_why_it_ended(make_bag) -> None:
    recording = Recording(make_bag())
    recording.start()
    recording.put(Message("/text", b"kept", 1, 1))
    recording.stop()
    assert (recording.written, recording.dropped, recording.failure) == (1, 0, "")
    assert read(recording.bag.path) == [b"kept"]


def test_a_recording_survives_its_disk(make_bag) -> None:
    recording = Recording(make_bag(min_free=10**18))
    recording.put(Message("/text", b"kept", 1, 1))
    recording.start()
    recording.join(timeout=20)
    assert "bytes are free" in recording.failure
    recording.put(Message("/text", b"ignored", 2, 2))
    recording.stop()
    assert read(recording.bag.path) == [b"kept"]


def test_every_recording_has_a_folder_of_its_own(tmp_path: Path) -> None:
    now = datetime(2026, 11, 21, 9, 5, 7)
    names = []
    for _ in range(3):
        folder = new_folder(tmp_path, now)
        folder.mkdir()
        names.append(folder.name)
    assert names == [f"pwm_2026_11_21-09_05_07{end}" for end in ("", "_1", "_2")]
