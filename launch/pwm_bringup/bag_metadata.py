# SPDX-License-Identifier: Apache-2.0
"""``metadata.yaml`` of a recording, as rosbag2 writes it (version 9, Jazzy and later)."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

VERSION = 9


@dataclass(frozen=True)
class Topic:
    """A recorded topic."""

    name: str
    """Full name."""
    type: str
    """``package/msg/Name``."""
    definition: str
    """Text of the type with all it refers to."""
    type_hash: str = ""
    """``RIHS01_…`` as the publisher said it."""
    qos: tuple[Mapping[str, Any], ...] = ()
    """What its publishers offered, each with rosbag2's keys."""

    @property
    def latched(self) -> int:
        """How many messages a late listener is given by its publishers together."""
        latched = all(profile.get("durability") == "transient_local" for profile in self.qos)
        return sum(max(1, profile["depth"]) for profile in self.qos) if latched else 0

    @property
    def qos_text(self) -> str:
        """The offered profiles as YAML."""
        return _dump([dict(profile) for profile in self.qos])


@dataclass
class FileContent:
    """One file of a recording; times in nanoseconds since the epoch."""

    path: Path
    counts: Counter[str] = field(default_factory=Counter)
    """Messages by topic."""
    first: int | None = None
    last: int = 0

    def add(self, topic: str, time: int) -> None:
        """Count a message."""
        self.counts[topic] += 1
        self.first = time if self.first is None else min(self.first, time)
        self.last = max(self.last, time)


def write_metadata(folder: Path, topics: Iterable[Topic], files: Iterable[FileContent]) -> None:
    """Write ``metadata.yaml`` so that it is whole whenever the process ends."""
    partial = folder / ".metadata.yaml.partial"
    partial.write_text(_dump({"rosbag2_bagfile_information": _information(topics, list(files))}))
    partial.replace(folder / "metadata.yaml")


def _information(topics: Iterable[Topic], files: list[FileContent]) -> dict[str, Any]:
    counts: Counter[str] = sum((file.counts for file in files), Counter())
    return {
        "version": VERSION,
        "storage_identifier": "mcap",
        **_span(files),
        "message_count": counts.total(),
        "topics_with_message_count": [
            {
                "topic_metadata": {
                    "name": topic.name,
                    "type": topic.type,
                    "serialization_format": "cdr",
                    "offered_qos_profiles": [dict(profile) for profile in topic.qos],
                    "type_description_hash": topic.type_hash,
                },
                "message_count": counts[topic.name],
            }
            for topic in topics
        ],
        "compression_format": "",
        "compression_mode": "",
        "relative_file_paths": [file.path.name for file in files],
        "files": [
            {"path": file.path.name, **_span([file]), "message_count": file.counts.total()}
            for file in files
        ],
        "custom_data": None,
        "ros_distro": os.environ.get("ROS_DISTRO", ""),
    }


def _span(files: list[FileContent]) -> dict[str, Any]:
    first = min((file.first for file in files if file.first is not None), default=0)
    last = max((file.last for file in files), default=0)
    return {
        "duration": {"nanoseconds": last - first},
        "starting_time": {"nanoseconds_since_epoch": first},
    }


def _dump(content: Any) -> str:
    dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    return yaml.dump(content, Dumper=dumper, sort_keys=False)
