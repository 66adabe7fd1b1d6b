# SPDX-License-Identifier: Apache-2.0
"""Bags with the messages of our interfaces, written by the mcap library as rosbag2 does."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from mcap_ros2.writer import Writer

INTERFACES = Path(__file__).parents[4] / "ros2_ws/src/pwm_interfaces/msg"
HEADER = """
================================================================================
MSG: std_msgs/Header
builtin_interfaces/Time stamp
string frame_id
================================================================================
MSG: builtin_interfaces/Time
int32 sec
uint32 nanosec
"""


def definition(name: str) -> str:
    """Return a message definition with those it is made of, as bags hold them."""
    return (INTERFACES / f"{name}.msg").read_text() + HEADER


def write_bag(
    path: Path, messages: Iterable[tuple[str, str, dict[str, Any]]], chunk_size: int = 2**20
) -> Path:
    """Write (topic, ``Observation`` or ``Action``, fields) one after the other."""
    with open(path, "wb") as stream, Writer(stream, chunk_size) as writer:
        kinds = ("Observation", "Action")
        schemas = {
            k: writer.register_msgdef(f"pwm_interfaces/msg/{k}", definition(k)) for k in kinds
        }
        for number, (topic, kind, fields) in enumerate(messages):
            header = {"stamp": {"sec": 0, "nanosec": number}, "frame_id": ""}
            writer.write_message(
                topic, schemas[kind], {"header": header} | fields, log_time=number * 1000
            )
    return path
