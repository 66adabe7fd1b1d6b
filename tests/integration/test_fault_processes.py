# SPDX-License-Identifier: Apache-2.0
"""Processes that are killed, and what the others do about it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

SEGMENT = re.compile(r"/dev/shm/fastdds_[0-9a-f]{16}\b")
"""Fast DDS's shared memory of one participant, beside which its lock lies (``…_el``)."""
STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
LONG = 300
"""Actions of a node, so that the count of the next one, which begins at 1, is told from its."""


@pytest.fixture
def actions(listen) -> list:
    from pwm_interfaces.msg import Action

    return listen(Action, "action")


def test_a_killed_simulator_brings_the_safe_action_until_it_is_back(
    make_bundle, start_bridge, start_policy, until, actions, reaction
) -> None:
    make_bundle("upright")
    bridge = start_bridge(mode="realtime")
    policy = start_policy()
    until(lambda: actions and not actions[-1].safe, "the policy's actions")
    since = time.monotonic()
    os.kill(bridge.pid, signal.SIGKILL)
    until(lambda: actions[-1].safe, "the safe action")
    reaction("simulator or sensors killed (SIGKILL)", "safe action", since)
    assert bridge.wait(timeout=30) == -signal.SIGKILL
    since = time.monotonic()
    start_bridge(mode="realtime")
    until(lambda: not actions[-1].safe, "the policy's actions again")
    reaction("simulator started again", "the policy acts, without being asked", since)
    assert policy.returncode is None
    epochs = [action.policy_epoch for action in actions]
    assert set(epochs) == {1}


def test_a_killed_policy_node_is_replaced_by_a_new_one(
    make_bundle, start_bridge, start_policy, session, until, actions, reaction, listen
) -> None:
    from sensor_msgs.msg import JointState

    def force() -> float:
        """What acts on the cart, in N; the policy's is hardly ever exactly zero."""
        return dict(zip(states[-1].name, states[-1].effort, strict=True))["slider"]

    def withdrawn() -> int:
        return int(session.diagnostics.get("mujoco_bridge", {}).get("withdrawn_actions", 0))

    make_bundle("upright")
    states = listen(JointState, "joint_states")
    bridge = start_bridge(mode="realtime")
    policy = start_policy()
    until(lambda: actions and not actions[-1].safe, "the policy's actions")
    until(lambda: states and force(), "the policy's force")
    until(lambda: actions[-1].sequence > LONG, "a node that has said much")
    since = time.monotonic()
    os.kill(policy.pid, signal.SIGKILL)
    until(lambda: not force(), "the safe action of the robot")
    reaction("policy node killed (SIGKILL)", "the simulated robot applies the safe action", since)
    assert policy.wait(timeout=30) == -signal.SIGKILL
    until(lambda: withdrawn() > 0, "the count")
    said, seen, before = len(actions), len(session.frames), actions[-1].sequence
    until(lambda: len(session.frames) > seen + 25, "a robot that goes on")
    since = time.monotonic()
    start_policy()
    until(lambda: len(actions) > said + 5 and not actions[-1].safe, "the new node's actions")
    reaction("policy node killed (SIGKILL) and started again", "the policy acts", since)
    assert bridge.returncode is None
    assert {action.policy for action in actions[said:]} == {"upright"}
    assert min(action.sequence for action in actions[said:]) < before, "a new node counts anew"
    until(force, "the new node's force on the cart")


def test_a_latched_stop_outlives_a_killed_policy_node(
    make_bundle, start_bridge, start_policy, session, until, actions, ask, reaction, tmp_path: Path
) -> None:
    from std_srvs.srv import SetBool

    def stop(data: bool) -> str:
        answer = ask(SetBool, "policy_node/emergency_stop", data=data)
        assert answer.success
        return answer.message

    make_bundle("upright")
    start_bridge(mode="realtime")
    directory = tmp_path / "stops"
    policy = start_policy(state_directory=str(directory))
    until(lambda: actions and not actions[-1].safe, "the policy's actions")
    assert stop(True) == "emergency stop latched"
    until(lambda: actions[-1].safe, "the safe action")
    os.kill(policy.pid, signal.SIGKILL)
    assert policy.wait(timeout=30) == -signal.SIGKILL
    said, since = len(actions), time.monotonic()
    policy = start_policy(state_directory=str(directory))
    until(lambda: len(actions) > said + 5, "the new node's actions")
    reaction("policy node killed while stopped, and started again", "the safe action", since)
    until(lambda: any("it was before this start" in line for line in policy.tail), "the reason")
    assert all(action.safe for action in actions[said:])
    until(lambda: session.status.reason == "activated upright", "the new node's status")
    assert session.status.emergency_stop
    assert stop(False) == "emergency stop released"
    until(lambda: not actions[-1].safe, "the policy's actions again")
    assert not list(directory.glob("*.stop"))


def test_a_real_start_goes_on_with_nothing_of_a_dry_run(
    make_bundle, start_policy, session, until, ask, tmp_path: Path
) -> None:
    from pwm_interfaces.srv import SwapPolicy

    for name in ("upright", "candidate"):
        make_bundle(name)
    told = {"policy": "upright", "state_directory": str(tmp_path / "state")}
    policy = start_policy(**told, dry_run=True)
    until(lambda: session.status.state == "active", "the dry run")
    assert ask(SwapPolicy, "policy_node/swap_policy", name="candidate").success
    state = tmp_path / "state"  # kept beside the node's work, a moment later
    until(
        lambda: ["candidate" in file.read_text() for file in state.glob("*.acting")] == [True],
        "the candidate on disk",
    )
    os.kill(policy.pid, signal.SIGKILL)
    assert policy.wait(timeout=30) == -signal.SIGKILL
    policy = start_policy(**told)
    until(lambda: session.status.reason == "activated upright", "the real start")
    warning = (
        "candidate acted when the node before this one died, and does not go on: dry_run was True "
        "and is False"
    )
    until(lambda: any(warning in line for line in policy.tail), "the warning")


def test_a_node_that_is_told_to_end_while_it_configures_leaves_nothing_to_go_on_with(
    make_bundle, start_policy, session, until, tmp_path: Path
) -> None:
    make_bundle("upright")
    directory = tmp_path / "state"
    policy = start_policy(state_directory=str(directory))
    until(lambda: list(directory.glob("*.acting")), "the acting policy on disk")
    os.kill(policy.pid, signal.SIGKILL)
    assert policy.wait(timeout=30) == -signal.SIGKILL
    waiting = {"command_interface": "forward_command", "controller": "nobody"}
    policy = start_policy(state_directory=str(directory), **waiting)
    until(lambda: "policy_node_asks" in session.get_node_names(), "the wait for the controller")
    assert list(directory.glob("*.acting"))
    os.kill(policy.pid, signal.SIGTERM)
    assert policy.wait(timeout=60) == 0
    assert not list(directory.iterdir())


def test_a_stop_that_cannot_be_kept_acts_and_says_so(
    make_bundle, start_policy, observe, until, actions, ask
) -> None:
    from std_srvs.srv import SetBool

    make_bundle("upright")
    policy = start_policy(state_directory="/proc/nowhere")
    observe([0.1, 1.0, 0.0, 0.0, 0.0])
    until(lambda: actions and not actions[-1].safe, "the policy's actions")
    warning = "would end with this node: /proc/nowhere"
    until(lambda: any(warning in line for line in policy.tail), "the warning")
    answer = ask(SetBool, "policy_node/emergency_stop", data=True)
    assert answer.success
    assert "a new policy node would not know of it: /proc/nowhere" in answer.message
    until(lambda: actions[-1].safe, "the safe action")


def shared_memory(pid: int | str) -> set[Path]:
    """Return the shared memory of participants that a process has mapped: its own and others'."""
    segments = {Path(path) for path in SEGMENT.findall(Path(f"/proc/{pid}/maps").read_text())}
    return segments | {segment.with_name(f"{segment.name}_el") for segment in segments}


@pytest.fixture
def running(make_bundle, start, start_bridge, start_policy, session, until, tmp_path: Path):
    """Bridge, policy node and recorder at work, by name, and their shared memory."""
    make_bundle("upright")
    of_the_test = shared_memory("self")
    processes = {
        "mujoco_bridge": start_bridge(mode="realtime"),
        "policy_node": start_policy(),
        "recorder": start("pwm_bringup", "recorder", directory=str(tmp_path / "bags")),
    }
    session.connect()
    until(lambda: session.diagnostics.keys() >= processes.keys(), "every node's diagnostics")
    memory = set.union(*(shared_memory(process.pid) for process in processes.values()))
    memory -= of_the_test
    assert len(memory) >= 2 * len(processes)
    return processes, memory


@pytest.mark.parametrize("number", STOPS, ids=lambda number: number.name)
def test_a_stopped_process_ends_with_zero_and_leaves_nothing(running, number, reaction) -> None:
    processes, memory = running
    for name, process in processes.items():
        since = time.monotonic()
        os.kill(process.pid, number)
        assert process.wait(timeout=60) == 0, list(process.tail)
        reaction(f"{number.name} to {name}", "ends with status 0, leaves no shared memory", since)
        assert not any("Traceback" in line for line in process.tail)
    assert not [path for path in memory if path.exists()]


@pytest.mark.parametrize(
    ("package", "executable"),
    [("pwm_mujoco", "mujoco_bridge"), ("pwm_policy", "policy_node"), ("pwm_bringup", "recorder")],
)
def test_a_ctrl_c_at_once_ends_a_node_that_is_still_starting(
    package: str, executable: str, start, until, tmp_path: Path
) -> None:
    own = {"directory": str(tmp_path)} if executable == "recorder" else {}
    process = start(package, executable, **own)
    command = Path(f"/proc/{process.pid}/cmdline")
    until(lambda: "python" in command.read_text().partition("\0")[0], "the node's interpreter")
    os.kill(process.pid, signal.SIGINT)
    assert process.wait(timeout=60) == 0
    assert not any("Traceback" in line for line in process.tail)


@pytest.fixture
def left(running) -> Iterator[Path]:
    """Kill the nodes; return a directory of what they left in shared memory, and of nothing else.

    The cleaner tries every lock of the machine: a node of another test that starts meanwhile would
    find its own taken.
    """
    processes, memory = running
    for process in processes.values():
        os.kill(process.pid, signal.SIGKILL)
    assert [p.wait(timeout=60) for p in processes.values()] == [-signal.SIGKILL] * len(processes)
    with tempfile.TemporaryDirectory(dir="/dev/shm") as directory:
        for path in memory:
            path.rename(Path(directory) / path.name)
        yield Path(directory)


def test_what_killed_processes_leave_is_cleaned_by_fastdds(left: Path) -> None:
    """Half a megabyte each."""
    assert list(left.iterdir())
    only = 'mount --bind "$0" /dev/shm && echo alone && exec fastdds shm clean'
    unshared = ["unshare", "--mount", "--map-root-user", "sh", "-c", only, str(left)]
    done = subprocess.run(unshared, capture_output=True, text=True, timeout=60)
    if not done.stdout.startswith("alone"):
        pytest.skip(f"shared memory cannot be hidden here: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
    assert not list(left.iterdir())


@pytest.mark.parametrize(
    ("package", "executable", "parameters"),
    [
        ("pwm_mujoco", "mujoco_bridge", {"real_time_factor": -1.0}),
        ("pwm_policy", "policy_node", {"stale_timeout": 0.0}),
        ("pwm_policy", "policy_node", {"latch_directory": "/var/lib/stops"}),
        ("pwm_bringup", "recorder", {"max_file_size": 0}),
        ("pwm_bringup", "recorder", {"directory": "/proc/nowhere"}),
    ],
)
def test_a_parameter_that_cannot_be_ends_the_start_with_its_name(
    package: str, executable: str, parameters: dict, start
) -> None:
    process = start(package, executable, **parameters)
    assert process.wait(timeout=60) == 2
    assert any(str(next(iter(parameters))) in line or "nowhere" in line for line in process.tail)
    assert not any("Traceback" in line for line in process.tail)
