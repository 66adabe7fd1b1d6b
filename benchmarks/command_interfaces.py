# SPDX-License-Identifier: Apache-2.0
"""``python -m benchmarks.command_interfaces BUNDLE …``: what trained policies earn on a robot.

The bridge plays the robot in real time (sensors and joint commands only), the policy node is as
``pwm sim --interface ros2_control`` starts it, once for every way that commands leave. Beside it:
what the bundle earns from the same seeds without ROS.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import rclpy

from benchmarks.measure import Row
from pwm_bringup.processes import RosProcess, leased_domain, stop_all
from pwm_bringup.session import Session
from pwm_bringup.simulation import BRIDGE, Simulation
from pwm_core.tables import print_table
from pwm_core.tasks import get_task
from pwm_export.bundle import Bundle

TOPICS = {
    "forward_command": f"{BRIDGE}/commands",
    "joint_trajectory": f"{BRIDGE}/joint_trajectory",
    "joint_state": "joint_commands",
}
"""By command interface: where the bridge listens for it."""
PATIENCE = 120.0
"""Seconds for a process to be there and answer, or for an episode to end."""


def arguments(argv: Sequence[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.command_interfaces", description=__doc__
    )
    parser.add_argument("bundles", nargs="+", type=Path, metavar="BUNDLE")
    parser.add_argument("--seeds", nargs="+", type=int, default=[5, 6, 7], help="one episode each")
    parser.add_argument("--json", action="store_true", help="print the table as JSON")
    return parser.parse_args(argv)


class OfflineEpisode(NamedTuple):
    """How an episode goes without ROS."""

    total: float
    """Its return."""
    last: np.ndarray
    """Its last observation ``[O]``."""


def offline_episode(bundle: Bundle, seed: int) -> OfflineEpisode:
    """Run a whole episode of a bundle's task without ROS."""
    task = get_task(bundle.task)
    environment = task.make_single(0)
    observation, _ = environment.reset(seed=seed)
    total = 0.0
    for _ in range(task.episode_steps):
        action = task.action.to_normalised(bundle.act(observation)).astype(np.float32)
        observation, reward, terminated, *_ = environment.step(action)
        total += float(reward)
        if terminated:
            break
    return OfflineEpisode(total, observation)


class Robot:
    """Bridge and policy node with one command interface, driven by a client."""

    def __init__(self, session: Session) -> None:
        self.session = session
        session.spin_until(lambda: session.status.state == "active", "the policy node")
        session.spin_until(lambda: int(self.figure("accepted_actions") or 0) > 10, "commands")

    def episode(self, seed: int) -> float:
        """Return what an episode earns by what the bridge says."""
        session = self.session
        session.configure(BRIDGE, mode="paused")
        session.reset(seed)
        session.spin_until(lambda: self.figure("episode_over") == "False", "the episode")
        session.configure(BRIDGE, mode="realtime")
        session.spin_until(lambda: self.figure("episode_over") == "True", "its end")
        return float(self.figure("episode_return"))

    def figure(self, key: str) -> str:
        """Return the bridge's newest figure; empty before there is one."""
        return self.session.diagnostics.get(BRIDGE, {}).get(key, "")


@contextlib.contextmanager
def robot(bundle: Bundle, interface: str, real_time_factor: float = 1.0) -> Iterator[Robot]:
    """Run the nodes until the block ends."""
    simulation = Simulation(
        interface="ros2_control",
        task=bundle.task,
        policy=bundle.path.stem,
        policy_dir=bundle.path.parent,
        mode="paused",
    )
    bridge, policy = simulation.nodes()
    driven = {"auto_reset": False, "real_time_factor": real_time_factor}
    leaving = {"command_interface": interface, "command_topic": TOPICS[interface]}
    nodes = (
        replace(bridge, parameters={**bridge.parameters, **driven}),
        replace(policy, parameters={**policy.parameters, **leaving}),
    )
    with leased_domain() as domain, contextlib.ExitStack() as cleanup:
        rclpy.init(domain_id=domain)
        cleanup.callback(rclpy.shutdown)
        session = Session(patience=PATIENCE)
        cleanup.callback(session.close)
        processes = [RosProcess.of_node(node, domain=domain, log_level="error") for node in nodes]
        cleanup.callback(stop_all, processes)
        yield Robot(session)


def row(bundle: Bundle, interface: str, seeds: Sequence[int]) -> Row:
    """Return one row of the table."""
    with robot(bundle, interface) as played:
        returns = [played.episode(seed) for seed in seeds]
        refused, withdrawn = (
            int(played.figure(key)) for key in ("refused_actions", "withdrawn_actions")
        )
    return {
        "bundle": bundle.path.stem,
        "commands": interface,
        "return": float(np.mean(returns)),
        "without ROS": float(np.mean([offline_episode(bundle, seed).total for seed in seeds])),
        "worst": float(np.min(returns)),
        "refused": refused,
        "withdrawn": withdrawn,
    }


def main(argv: Sequence[str]) -> int:
    """Play every bundle through every interface and print a table."""
    given = arguments(argv)
    bundles = [Bundle.load(path) for path in given.bundles]
    rows = [row(bundle, interface, given.seeds) for bundle in bundles for interface in TOPICS]
    print_table(f"Episodes of seeds {given.seeds}", rows, given.json)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
