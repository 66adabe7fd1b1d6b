# SPDX-License-Identifier: Apache-2.0
"""What becomes of the nodes, and of the robot, when their supervisor or one of them ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

PROGRAM = """
import sys
from pathlib import Path
from pwm_bringup.sim import Sim
sys.exit(Sim(task="cartpole-balance", policy_dir=Path(sys.argv[1])).run())
"""
ENDS = (signal.SIGHUP, signal.SIGTERM, signal.SIGKILL)


@pytest.fixture
def supervisor(make_bundle, domain: int, actions, until, tmp_path: Path):
    """`pwm sim` with its policy acting."""
    from pwm_bringup.processes import environment

    make_bundle("upright")
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(tmp_path / "policies")],
        env=environment(domain),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    until(lambda: actions and not actions[-1].safe, "the policy's actions")
    yield process
    if process.poll() is None:
        process.terminate()
    process.communicate(timeout=60)


def nodes(supervisor: subprocess.Popen) -> dict[str, int]:
    """Return the process ids of the supervisor's nodes by executable."""
    pids = Path(f"/proc/{supervisor.pid}/task/{supervisor.pid}/children").read_text().split()
    names = ("policy_node", "mujoco_bridge")
    lines = {pid: Path(f"/proc/{pid}/cmdline").read_text() for pid in pids}
    return {name: int(pid) for name in names for pid, line in lines.items() if name in line}


def ended(pid: int) -> bool:
    """Whether a process is gone, or waits for somebody to ask how it ended."""
    try:
        return "State:\tZ" in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return True


@pytest.mark.parametrize("number", ENDS, ids=lambda number: number.name)
def test_nodes_end_with_their_supervisor_and_leave_the_robot_safe(
    supervisor, number, actions, until, reaction
) -> None:
    children = nodes(supervisor)
    assert children.keys() == {"policy_node", "mujoco_bridge"}
    since = time.monotonic()
    os.kill(supervisor.pid, number)
    until(lambda: actions[-1].safe, "the safe action")
    until(lambda: all(map(ended, children.values())), "the end of the nodes")
    reaction(f"{number.name} to `pwm sim`", "safe action, then the nodes end", since)
    until(lambda: actions[-1].safe, "the safe action as the last word")
    expected = -number if number == signal.SIGKILL else 0
    assert supervisor.wait(timeout=60) == expected


def test_a_policy_node_that_was_told_to_end_is_not_started_again(
    supervisor, actions, until, reaction
) -> None:
    since = time.monotonic()
    os.kill(nodes(supervisor)["policy_node"], signal.SIGTERM)
    until(lambda: supervisor.poll() is not None, "the end of `pwm sim`")
    reaction("SIGTERM to the policy node of `pwm sim`", "all ends, nothing starts again", since)
    output, _ = supervisor.communicate(timeout=60)
    assert supervisor.returncode == 0, output
    assert "policy_node ended with status 0" in output
    until(lambda: actions[-1].safe, "the safe action as the last word")
