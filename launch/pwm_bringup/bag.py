# SPDX-License-Identifier: Apache-2.0
"""A recording on disk: a folder of MCAP files and rosbag2's ``metadata.yaml``. No ROS.

Messages are kept as the bytes that were published. What was flushed survives the end of the
process and of the machine; a file that was not closed lacks only its index.

Each file can be read alone: it begins with the latched messages that were valid then. They have the
time of their publication, and are logged when their file begins.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections import deque
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from mcap.writer import Writer

from pwm_bringup.bag_metadata import FileContent, Topic, write_metadata

LIBRARY = "pwm_bringup recorder"
Latched = tuple[bytes, int]
"""A latched message and when it was published."""


class Bag:
    """Appends messages to files of bounded size.

    Every method that writes raises ``OSError`` when the disk does not take it, or when less than
    ``min_free`` bytes of it would be left. The bag is over then: what was flushed before stays.
    """

    def __init__(
        self, folder: Path, max_file_size: int, max_files: int = 0, min_free: int = 0
    ) -> None:
        """Start a recording in a new ``folder``; ``max_files`` 0 keeps all."""
        folder.mkdir(parents=True)
        self.folder = folder
        self.bytes = 0
        """Written so far, also to files that were removed since."""
        self._max_file_size, self._max_files, self._min_free = max_file_size, max_files, min_free
        self._topics: dict[str, Topic] = {}
        self._latched: dict[str, deque[Latched]] = {}
        self._files: deque[FileContent] = deque()
        self._opened = 0
        self._open_next()

    @property
    def path(self) -> Path:
        """The file being written."""
        return self._files[-1].path

    def add_topic(self, topic: Topic) -> None:
        """Make a topic known before its first message, or who else publishes it by now."""
        self._topics[topic.name] = topic
        if topic.latched:
            held = self._latched.get(topic.name, ())
            self._latched[topic.name] = deque(held, maxlen=topic.latched)

    def write(self, topic: str, data: bytes, log_time: int, publish_time: int) -> None:
        """Append one message of a known topic; times in nanoseconds since the epoch."""
        self._append(topic, data, log_time, publish_time)
        if topic in self._latched:
            self._latched[topic].append((data, publish_time))

    def _append(self, topic: str, data: bytes, log_time: int, publish_time: int) -> None:
        with self._or_abandon():
            if topic not in self._channels:
                self._channels[topic] = self._register(self._topics[topic])
            self._writer.add_message(self._channels[topic], log_time, data, publish_time)
        self._files[-1].add(topic, log_time)

    def flush(self) -> None:
        """Put everything on disk; go on with the next file when this one is full."""
        with self._or_abandon():
            self._writer.flush()
            self._sync()
        if self._sound >= self._max_file_size:
            self._close_file()
            now = self._files[-1].last
            self._open_next()
            self._repeat_latched(now)
        write_metadata(self.folder, self._topics.values(), self._files)
        if shutil.disk_usage(self.folder).free < self._min_free:
            self.close()
            raise OSError(errno.ENOSPC, f"less than {self._min_free} bytes are free")

    def close(self) -> None:
        """Write the index of the last file."""
        self._close_file()
        write_metadata(self.folder, self._topics.values(), self._files)

    def _open_next(self) -> None:
        path = self.folder / f"{self.folder.name}_{self._opened}.mcap"
        self._opened += 1
        self._files.append(FileContent(path))
        if self._max_files and len(self._files) > self._max_files:
            self._files.popleft().path.unlink(missing_ok=True)
        self._file = open(path, "xb")  # noqa: SIM115 (closed by ``_close_file``, ``_abandon``)
        self._sound = 0
        self._channels: dict[str, int] = {}
        self._writer = Writer(self._file)
        with self._or_abandon():
            self._writer.start(profile="ros2", library=LIBRARY)

    def _repeat_latched(self, now: int) -> None:
        for topic, messages in self._latched.items():
            for data, publish_time in messages:
                self._append(topic, data, now, publish_time)

    def _register(self, topic: Topic) -> int:
        schema = self._writer.register_schema(topic.type, "ros2msg", topic.definition.encode())
        about = {"offered_qos_profiles": topic.qos_text, "topic_type_hash": topic.type_hash}
        return self._writer.register_channel(topic.name, "cdr", schema, about)

    def _close_file(self) -> None:
        with self._or_abandon():
            self._writer.finish()
            self._file.flush()
            self._sync()
        self._file.close()

    def _sync(self) -> None:
        os.fsync(self._file.fileno())
        self.bytes += self._file.tell() - self._sound
        self._sound = self._file.tell()

    @contextlib.contextmanager
    def _or_abandon(self) -> Iterator[None]:
        """When the disk takes no more, cut off what is not whole: the file ends as if killed."""
        try:
            yield
        except OSError:
            os.ftruncate(self._file.fileno(), self._sound)
            self._file.raw.close()  # the buffer is not to be written any more
            raise


def new_folder(directory: Path, now: datetime) -> Path:
    """Return the name of a folder below ``directory`` that does not exist yet."""
    name = now.strftime("pwm_%Y_%m_%d-%H_%M_%S")
    number, folder = 0, directory / name
    while folder.exists():
        number += 1
        folder = directory / f"{name}_{number}"
    return folder
