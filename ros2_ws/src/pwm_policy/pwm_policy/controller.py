# SPDX-License-Identifier: Apache-2.0
"""What a ros2_control controller says of itself through its parameters."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import rclpy
from rcl_interfaces.msg import ParameterType
from rcl_interfaces.srv import GetParameters
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node

from pwm_policy.joint_commands import CommandError

ANSWER_SECONDS = 20.0
"""How long a controller, which may just be starting, may take to be found and to answer."""
REPEAT_SECONDS = 2.0
"""After how long it is asked again: what it says before it has found this client is lost."""


@dataclass(frozen=True)
class Controller:
    """A forward command or joint trajectory controller."""

    joints: tuple[str, ...]
    """In the order of its commands."""
    interfaces: tuple[str, ...]
    """What it commands: any of ``position``, ``velocity``, ``effort``; empty if it does not say."""


def ask(node: Node, name: str, stopping: threading.Event) -> Controller:
    """Return what controller ``name`` says; :class:`CommandError` when it does not.

    ``stopping``, once set, ends the wait.

    Asks from a node of its own: ``node``'s executor may be the one that waits here.
    """
    asking = rclpy.create_node(
        f"{node.get_name()}_asks",
        context=node.context,
        namespace=node.get_namespace(),
        use_global_arguments=False,
        start_parameter_services=False,
        enable_rosout=False,
    )
    executor = SingleThreadedExecutor(context=node.context)
    executor.add_node(asking)
    try:
        return _ask(asking, executor, name, stopping)
    finally:
        executor.shutdown()
        asking.destroy_node()


def _ask(
    node: Node, executor: SingleThreadedExecutor, name: str, stopping: threading.Event
) -> Controller:
    client: Any = node.create_client(GetParameters, f"{name}/get_parameters")
    deadline = time.monotonic() + ANSWER_SECONDS

    def wait(condition: Callable[[], bool]) -> None:
        while not condition():
            if stopping.is_set():
                raise CommandError(f"the process ends before controller {name} has answered")
            if time.monotonic() > deadline:
                raise CommandError(
                    f"controller {name} does not answer {client.srv_name} within "
                    f"{ANSWER_SECONDS:.0f} s: load it first, or name its joints with the "
                    "parameter `joints`"
                )
            executor.spin_once(timeout_sec=0.05)

    def get(parameter: str) -> tuple[str, ...]:
        # One by one: a node that has not declared one of several answers none.
        futures: list[Any] = []
        due = time.monotonic()

        def answered() -> bool:
            nonlocal due
            if time.monotonic() >= due:
                due += REPEAT_SECONDS
                futures.append(client.call_async(GetParameters.Request(names=[parameter])))
            return any(future.done() for future in futures)

        wait(answered)
        values = next(future for future in futures if future.done()).result().values
        if values and values[0].type == ParameterType.PARAMETER_STRING:
            return (values[0].string_value,) if values[0].string_value else ()
        return tuple(values[0].string_array_value) if values else ()

    wait(client.service_is_ready)
    joints = get("joints")
    if not joints:
        raise CommandError(f"controller {name} has no parameter `joints`")
    return Controller(joints, get("interface_name") or get("command_interfaces"))
