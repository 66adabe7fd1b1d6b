# SPDX-License-Identifier: Apache-2.0
"""Services that can wait, on a thread and an executor of their own."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

from rclpy.experimental import EventsExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile
from rclpy.service import Service
from rclpy.task import Future

POLL_SECONDS = 0.1
"""How long the end of the node may go unnoticed: this executor's `spin` never waits."""
ENDING_SECONDS = 5.0
"""An answer that is under way when the node ends has this long."""


class Beside:
    """Answers services of ``node`` one by one beside its executor.

    Loading a bundle takes milliseconds to seconds, a transition up to half a minute, and the node's
    executor must go on delivering observations and answering. A coroutine would not do: rclpy's
    executors poll one that waits, which takes the interpreter from the control loop. Hence a hidden
    node with an executor of its own, named after its ``purpose``.
    """

    def __init__(self, node: Node, purpose: str) -> None:
        self._node = node
        self._hidden = _Hidden(
            f"_{node.get_name()}_{purpose}",
            context=node.context,
            namespace=node.get_namespace(),
            use_global_arguments=False,
            enable_rosout=False,
            start_parameter_services=False,
        )
        # A fifth less processor time per call than the single-threaded one, all of it Python's.
        self._executor = EventsExecutor(context=node.context)
        self._executor.add_node(self._hidden)
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._spin, name=purpose, daemon=True)

    def create_service(self, kind: type, name: str, callback: Callable, calls: QoSProfile) -> None:
        """Answer ``name``, which is private to the node, by ``callback``."""
        own = self._node.resolve_service_name(name)
        self._hidden.create_service(kind, own, callback, qos_profile=calls)

    def adopt(self, service: Service) -> None:
        """Answer a service that the node has made; the node's own `services` must leave it out."""
        self._hidden.adopted.append(service)
        self._executor.wake()

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def run(self, work: Callable[[], None]) -> Future:
        """Do ``work`` between two answers; return what is done when it has been."""
        return self._executor.create_task(work)

    def close(self) -> None:
        """Answer no more, and leave nothing in shared memory."""
        self._closed.set()
        self._thread.join(ENDING_SECONDS)
        self._executor.shutdown()
        self._hidden.destroy_node()

    def _spin(self) -> None:
        while not self._closed.is_set():
            try:
                self._executor.spin_once(timeout_sec=POLL_SECONDS)
            except Exception as error:
                # Jazzy's rclpy raises out of an invalid lifecycle transition; the robot must go on.
                self._node.get_logger().error(f"{type(error).__name__}: {error}")


class _Hidden(Node):
    """A node that another one's services may be entrusted to."""

    adopted: list[Service]

    def __init__(self, *arguments: object, **options: object) -> None:
        self.adopted = []
        super().__init__(*arguments, **options)  # type: ignore[arg-type]

    @property
    def services(self) -> Iterator[Service]:
        yield from super().services
        yield from self.adopted
