# SPDX-License-Identifier: Apache-2.0
"""The thread that writes a bag, so that a slow disk never holds up who listens. No ROS."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from pwm_bringup.bag import Bag
from pwm_bringup.bag_metadata import Topic

FLUSH_SECONDS = 0.5
"""What a killed recorder may lose."""
WAITING_BYTES = 64 * 2**20
"""What may wait for the disk; more is dropped and counted."""


@dataclass(frozen=True)
class Message:
    """One message as published; times in nanoseconds since the epoch."""

    topic: str
    data: bytes
    log_time: int
    publish_time: int


class Recording(threading.Thread):
    """Puts what it is given into a bag twice a second, until stopped or until the disk is full."""

    def __init__(self, bag: Bag) -> None:
        super().__init__(name="recording", daemon=True)
        self.bag = bag
        self.failure = ""
        """Why the recording ended by itself."""
        self.written = self.dropped = 0
        """Messages on disk, and those that a slow disk had no time for."""
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._waiting: list[Topic | Message] = []
        self._waiting_bytes = 0

    def add_topic(self, topic: Topic) -> None:
        """Make a topic known before its first message."""
        with self._lock:
            self._waiting.append(topic)

    def put(self, message: Message) -> None:
        """Take one message; never waits for the disk."""
        with self._lock:
            if self.failure:
                return
            if self._waiting_bytes > WAITING_BYTES:
                self.dropped += 1
                return
            self._waiting.append(message)
            self._waiting_bytes += len(message.data)

    def run(self) -> None:
        try:
            while not self._stopped.wait(FLUSH_SECONDS):
                self._write_waiting()
                self.bag.flush()
            self._write_waiting()
            self.bag.close()
        except Exception as error:  # mostly a full disk; whatever it is, the node says it
            reason = (isinstance(error, OSError) and error.strerror) or repr(error)
            with self._lock:
                self.failure = f"{self.bag.path}: {reason}"
                self._waiting.clear()

    def stop(self) -> None:
        """Write what waits and close the bag."""
        self._stopped.set()
        self.join()

    def _write_waiting(self) -> None:
        with self._lock:
            batch, self._waiting, self._waiting_bytes = self._waiting, [], 0
        for item in batch:
            if isinstance(item, Topic):
                self.bag.add_topic(item)
            else:
                self.bag.write(item.topic, item.data, item.log_time, item.publish_time)
                self.written += 1
