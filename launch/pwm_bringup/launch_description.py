# SPDX-License-Identifier: Apache-2.0
"""What ``ros2 launch`` gets from a :class:`pwm_bringup.bringup.Launch`; needs launch_ros."""

from __future__ import annotations

import shlex
from functools import partial

from launch.action import Action
from launch.actions import (
    DeclareLaunchArgument,
    OpaqueFunction,
    SetEnvironmentVariable,
    Shutdown,
)
from launch.events.process import ProcessExited
from launch.launch_context import LaunchContext
from launch.launch_description import LaunchDescription
from launch.substitutions import EnvironmentVariable, LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.substitutions import FindPackageShare

from pwm_bringup.arguments import Argument, arguments_of, from_texts
from pwm_bringup.bringup import Launch
from pwm_bringup.nodes import AtEnd, NodeProcess
from pwm_bringup.processes import ENDS_WITH_US, KEEPS_SIGINT, PATIENCE
from pwm_bringup.supervision import RESPAWN_SECONDS, ends_all

DISCOVERY = "ROS_AUTOMATIC_DISCOVERY_RANGE"
"""Other machines see the nodes only if the user says so, e.g. with ``SUBNET``."""


def launch_description(kind: type[Launch]) -> LaunchDescription:
    """Return a description with an argument per field of ``kind`` that starts its nodes."""
    return LaunchDescription(
        [
            SetEnvironmentVariable(
                DISCOVERY, EnvironmentVariable(DISCOVERY, default_value="LOCALHOST")
            ),
            *map(_declare, arguments_of(kind)),
            OpaqueFunction(function=_start, args=[kind]),
        ]
    )


def _declare(argument: Argument) -> DeclareLaunchArgument:
    return DeclareLaunchArgument(
        argument.name,
        default_value=argument.default,
        description=argument.description,
        choices=argument.choices,
    )


def _start(context: LaunchContext, kind: type[Launch]) -> list[Action]:
    names = [argument.name for argument in arguments_of(kind)]
    given = from_texts(kind, {name: LaunchConfiguration(name).perform(context) for name in names})
    return [_node(given, process) for process in given.nodes()]


def _node(given: Launch, process: NodeProcess) -> Node:
    share = FindPackageShare("pwm_bringup")
    params_file = given.params_file or [share, "/config/", given.PARAMETER_FILE]
    enclave = ["--enclave", process.enclave] if process.enclave else []
    return Node(
        package=process.package,
        executable=process.executable,
        exec_name=process.executable,  # else the prefix's
        prefix=shlex.join((*ENDS_WITH_US, *KEEPS_SIGINT)),
        namespace=given.namespace,
        parameters=[params_file, dict(process.parameters)],
        remappings=list(process.remappings),
        ros_arguments=["--log-level", given.log_level, *enclave],
        additional_env=dict(process.variables),
        respawn=process.at_end is AtEnd.RESPAWN,
        respawn_delay=RESPAWN_SECONDS,
        sigterm_timeout=str(PATIENCE[0][1]),  # of SIGINT, until SIGTERM
        sigkill_timeout=str(PATIENCE[1][1]),
        on_exit=partial(_at_end, process),
        output="screen",
        emulate_tty=True,
    )


def _at_end(process: NodeProcess, ended: ProcessExited, context: LaunchContext) -> Action | None:
    """Shut down when all has to end; launch hears of it before it starts the process again."""
    if ends_all(process, ended.returncode):
        return Shutdown(reason=f"{process.executable} ended with status {ended.returncode}")
    return None
