# SPDX-License-Identifier: Apache-2.0
"""A simulated robot and its policy.

ros2 launch pwm_bringup sim.launch.py task:=cartpole-swingup
"""

from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.substitutions import FindPackageShare

from launch import LaunchContext, LaunchDescription
from pwm_bringup.simulation import DEFAULT_POLICY_DIR, DEFAULT_TASK, MODES, simulation_nodes

BOOLEAN = {"choices": ["true", "false"]}


def generate_launch_description() -> LaunchDescription:
    """Declare the arguments and start ``mujoco_bridge`` and ``policy_node``."""
    config = PathJoinSubstitution([FindPackageShare("pwm_bringup"), "config", "sim.yaml"])
    return LaunchDescription(
        [
            _argument("task", DEFAULT_TASK, "Task to simulate (`pwm tasks` lists them)."),
            _argument("policy_dir", DEFAULT_POLICY_DIR, "Directory of policy bundles NAME.onnx."),
            _argument("policy", "", "Policy to start with; empty: the first one for the task."),
            _argument(
                "mode",
                "realtime",
                "lockstep: physics waits for the policy; realtime; paused.",
                choices=list(MODES),
            ),
            _argument("namespace", "", "Namespace of both nodes and their topics."),
            _argument("use_sim_time", "false", "Take time from /clock.", **BOOLEAN),
            _argument("headless", "true", "Without MuJoCo's viewer window.", **BOOLEAN),
            _argument("params_file", config, "Parameter file for both nodes."),
            _argument("log_level", "info", "Least severe log messages to show."),
            OpaqueFunction(function=_nodes),
        ]
    )


def _argument(name, default, description, **options):
    return DeclareLaunchArgument(name, default_value=default, description=description, **options)


def _nodes(context: LaunchContext) -> list[Node]:
    def value(name: str) -> str:
        return LaunchConfiguration(name).perform(context)

    processes = simulation_nodes(
        value("task"),
        value("policy_dir"),
        value("policy"),
        value("mode"),
        value("use_sim_time") == "true",
        value("headless") == "true",
    )
    return [
        Node(
            package=process.package,
            executable=process.executable,
            namespace=value("namespace"),
            parameters=[value("params_file"), dict(process.parameters)],
            remappings=list(process.remappings),
            arguments=["--ros-args", "--log-level", value("log_level")],
            output="screen",
            emulate_tty=True,
        )
        for process in processes
    ]
