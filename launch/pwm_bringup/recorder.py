# SPDX-License-Identifier: Apache-2.0
"""``recorder``: writes what a robot's nodes publish to MCAP files, as ``ros2 bag record`` does.

    ros2 run pwm_bringup recorder --ros-args -p directory:=recordings

Messages are never decoded. Topics are picked up whenever they appear, with the quality of service
their publishers offer. A full disk ends the recording, not the node, and nothing but it.
"""

from __future__ import annotations

import fnmatch
import importlib
import shutil
import sys
import time
from collections.abc import Mapping
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rcl_interfaces.msg import IntegerRange, ParameterDescriptor
from rclpy.clock import Clock, ClockType
from rclpy.duration import Duration
from rclpy.event_handler import SubscriptionEventCallbacks
from rclpy.exceptions import ParameterException
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSDurabilityPolicy, QoSProfile, QoSReliabilityPolicy
from rclpy.signals import SignalHandlerOptions
from rclpy.topic_endpoint_info import TopicEndpointInfo

from pwm_bringup.bag import Bag, new_folder
from pwm_bringup.bag_metadata import Topic
from pwm_bringup.message_definition import DefinitionError, full_text
from pwm_bringup.recording import Message, Recording
from pwm_core.stop_signals import stop_requested
from pwm_diagnostics import diagnostic_message

TOPICS = (
    *("action", "observation", "joint_states", "imu/data", "odom", "cmd_vel", "target"),
    *("policy_node/status", "*/commands", "*/joint_trajectory", "joint_commands", "shadow/*"),
    *("/diagnostics", "/clock"),
)
MEGABYTE = 10**6
DEPTH = 1000
"""Messages of a topic that may wait for the recorder."""
LOOK_SECONDS = 0.5
"""How often new topics are looked for."""
RELIABLE, BEST_EFFORT = QoSReliabilityPolicy.RELIABLE, QoSReliabilityPolicy.BEST_EFFORT
LATCHED, VOLATILE = QoSDurabilityPolicy.TRANSIENT_LOCAL, QoSDurabilityPolicy.VOLATILE


class Recorder(Node):
    """Subscribes to every topic that matches and hands the bytes to a :class:`Recording`."""

    def __init__(self) -> None:
        super().__init__("recorder")
        self._declare()
        directory = Path(self.get_parameter("directory").value).expanduser()
        bag = Bag(
            new_folder(directory, datetime.now()),
            max_file_size=self.get_parameter("max_file_size").value * MEGABYTE,
            max_files=self.get_parameter("max_files").value,
            min_free=self.get_parameter("min_free_space").value * MEGABYTE,
        )
        self.recording = Recording(bag)
        self._patterns = [self._full(name) for name in self.get_parameter("topics").value]
        self._subscribed: dict[str, Any] = {}
        self._publisher_counts: dict[str, int] = {}
        self._unknown_types: set[str] = set()
        self._lost = 0
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(LOOK_SECONDS, self._look_for_topics, clock=steady)
        self.create_timer(1.0, self._publish_diagnostics, clock=steady)
        self.recording.start()
        self.get_logger().info(f"recording to {bag.folder}")

    def _declare(self) -> None:
        def declare(name: str, default: Any, description: str, least: int = 0) -> None:
            descriptor = ParameterDescriptor(name=name, description=description, read_only=True)
            if isinstance(default, int):
                descriptor.integer_range = [IntegerRange(from_value=least, to_value=10**9, step=1)]
            self.declare_parameter(name, default, descriptor)

        declare("directory", "recordings", "Where each recording gets a folder of its own.")
        declare("topics", list(TOPICS), "Names, relative or absolute, with * for any part.")
        declare("max_file_size", 256, "Megabytes after which the next file begins.", 1)
        declare("max_files", 0, "Files kept of a recording, the newest ones; 0: all.")
        declare("min_free_space", 500, "Megabytes of the disk that are left free.")

    def _full(self, name: str) -> str:
        """Return the absolute name or pattern; a pattern is not remapped."""
        if "*" not in name:
            return self.resolve_topic_name(name)
        return name if name.startswith("/") else f"{self.get_namespace().rstrip('/')}/{name}"

    # Topics

    def _look_for_topics(self) -> None:
        if self.recording.failure:
            self._end()
            return
        for name, types in self.get_topic_names_and_types():
            if any(fnmatch.fnmatchcase(name, pattern) for pattern in self._patterns):
                publishers = self.get_publishers_info_by_topic(name)
                if publishers and types[0] not in self._unknown_types:
                    self._follow(name, types[0], publishers)

    def _follow(self, name: str, kind: str, publishers: list[TopicEndpointInfo]) -> None:
        """Subscribe; again, when a publisher joined that offers less than was asked for."""
        offered = [publisher.qos_profile for publisher in publishers]
        wanted = QoSProfile(
            depth=DEPTH,
            reliability=RELIABLE if _all(offered, "reliability", RELIABLE) else BEST_EFFORT,
            durability=LATCHED if _all(offered, "durability", LATCHED) else VOLATILE,
        )
        if len(publishers) > self._publisher_counts.get(name, 0) and not self._describe(
            name, kind, publishers
        ):
            return
        present = self._subscribed.get(name)
        if present is not None:
            if not _asks_too_much(present.qos_profile, wanted):
                return
            self.destroy_subscription(present)
        self._subscribed[name] = self.create_subscription(
            _message_class(kind),
            name,
            partial(self._on_message, name),
            wanted,
            raw=True,
            event_callbacks=SubscriptionEventCallbacks(message_lost=self._on_lost),
        )

    def _describe(self, name: str, kind: str, publishers: list[TopicEndpointInfo]) -> bool:
        """Make a topic known, or how many publish it by now; False if nobody can read it."""
        try:
            _message_class(kind)
            definition = full_text(kind)
        except (ImportError, AttributeError, DefinitionError) as error:
            self._unknown_types.add(kind)
            self.get_logger().warning(f"{name} is not recorded: {error}")
            return False
        type_hash = str(publishers[0].topic_type_hash)
        qos = tuple(_as_rosbag2(publisher.qos_profile) for publisher in publishers)
        self.recording.add_topic(Topic(name, kind, definition, type_hash, qos))
        self._publisher_counts[name] = len(publishers)
        return True

    def _on_message(self, topic: str, data: bytes, info: Mapping[str, Any]) -> None:
        received = info["received_timestamp"] or time.time_ns()
        self.recording.put(Message(topic, data, received, info["source_timestamp"] or received))

    def _on_lost(self, event: Any) -> None:
        self._lost += event.total_count_change

    # Failure and diagnostics

    def _end(self) -> None:
        """Listen to nothing any more; the node stays to say why."""
        if self._subscribed:
            self.get_logger().error(f"recording ended: {self.recording.failure}")
        for subscription in self._subscribed.values():
            self.destroy_subscription(subscription)
        self._subscribed.clear()

    def _publish_diagnostics(self) -> None:
        recording = self.recording
        values = {
            "file": recording.bag.path,
            "topics": len(self._subscribed),
            "messages": recording.written,
            "bytes": recording.bag.bytes,
            "dropped_messages": recording.dropped,
            "lost_messages": self._lost,
            "free_bytes": shutil.disk_usage(recording.bag.folder).free,
        }
        message = diagnostic_message(
            self.get_clock().now().to_msg(),
            f"{self.get_fully_qualified_name()}: recording",
            "disk",
            DiagnosticStatus.ERROR if recording.failure else DiagnosticStatus.OK,
            f"ended: {recording.failure}" if recording.failure else "recording",
            values,
        )
        self._diagnostics.publish(message)


def _message_class(kind: str) -> Any:
    package, folder, name = kind.split("/")
    return getattr(importlib.import_module(f"{package}.{folder}"), name)


def _all(profiles: list[QoSProfile], policy: str, value: Any) -> bool:
    return all(getattr(profile, policy) == value for profile in profiles)


def _asks_too_much(present: QoSProfile, wanted: QoSProfile) -> bool:
    return (present.reliability == RELIABLE and wanted.reliability != RELIABLE) or (
        present.durability == LATCHED and wanted.durability != LATCHED
    )


def _as_rosbag2(profile: QoSProfile) -> dict[str, Any]:
    def seconds(duration: Duration) -> dict[str, int]:
        sec, nsec = divmod(duration.nanoseconds, 10**9)
        return {"sec": sec, "nsec": nsec}

    return {
        "history": profile.history.name.lower(),
        "depth": profile.depth,
        "reliability": profile.reliability.name.lower(),
        "durability": profile.durability.name.lower(),
        "deadline": seconds(profile.deadline),
        "lifespan": seconds(profile.lifespan),
        "liveliness": profile.liveliness.name.lower(),
        "liveliness_lease_duration": seconds(profile.liveliness_lease_duration),
        "avoid_ros_namespace_conventions": profile.avoid_ros_namespace_conventions,
    }


def main() -> int:
    """Record until told to end."""
    stopping = stop_requested()
    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    try:
        recorder = Recorder()
    except (OSError, ParameterException) as error:
        print(f"recorder: {error}", file=sys.stderr)
        rclpy.shutdown()
        return 2
    executor = SingleThreadedExecutor()
    executor.add_node(recorder)
    while not stopping.is_set():
        executor.spin_once(timeout_sec=0.1)
    recorder.recording.stop()
    executor.shutdown()
    recorder.destroy_node()
    rclpy.shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())
