# SPDX-License-Identifier: Apache-2.0
"""The demo's ROS 2 stage: real nodes in their own processes, one lockstep episode, live swaps."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pwm_bringup.processes import RosProcess, leased_domain, parameter_file, stop_all
from pwm_bringup.simulation import Simulation
from pwm_core.errors import PwmError
from pwm_core.tables import print_table

LOCKSTEP_SEED = 0
LOCKSTEP_TOLERANCE = 1e-3
"""Largest relative difference between the return over ROS and ``pwm eval``'s for the same seed."""
SESSION_SECONDS = 180.0
NODE_FIGURES = (
    "rate_hz",
    "ticks",
    "missed_ticks",
    "stale_inputs",
    "period_p50_ms",
    "period_p99_ms",
    "period_max_ms",
    "inference_p50_ms",
    "inference_p99_ms",
)
"""What the demo prints of the policy node's diagnostics; ``live.json`` keeps all."""


def run_ros(run: Path, swing_up: str, balance: str) -> int:
    """Drive the bundles of ``run``; records go to ``run/ros``; 1 when the returns differ."""
    out = run / "ros"
    out.mkdir(parents=True, exist_ok=True)
    with running_simulation(run / "bundles", swing_up, out / "nodes.log") as domain:
        lockstep = _session(
            domain,
            out / "lockstep.json",
            ["lockstep", "--task", swing_up, "--policy", swing_up, "--seed", str(LOCKSTEP_SEED)],
        )
        same = _compare(lockstep, run / "evaluation.json")
        print("live, in real time: balance, swap to swing-up with the pole put down, swap back")
        segments = _segments(swing_up, balance)
        live = _session(domain, out / "live.json", ["live", *segments])
    _show(live)
    return 0 if same else 1


@contextmanager
def running_simulation(bundles: Path, task: str, log: Path) -> Iterator[int]:
    """Run bridge and policy node on a ROS domain of their own; yield the domain."""
    with leased_domain() as domain, open(log, "w") as file:
        processes: list[RosProcess] = []

        def write(line: str) -> None:
            file.write(line + "\n")
            file.flush()

        try:
            simulation = Simulation(task=task, policy=task, policy_dir=bundles, mode="lockstep")
            for node in simulation.nodes():
                processes.append(
                    RosProcess.of_node(
                        node, params_file=parameter_file("sim.yaml"), domain=domain, sink=write
                    )
                )
            yield domain
        except PwmError:
            print(f"the nodes' output is in {log}")
            raise
        finally:
            stop_all(processes)


def _session(domain: int, output: Path, arguments: Sequence[str]) -> dict[str, Any]:
    process = RosProcess("pwm_bringup", "session", [*arguments, "--output", str(output)], domain)
    try:
        status = process.wait(SESSION_SECONDS)
    except subprocess.TimeoutExpired:
        raise PwmError(f"session {arguments[0]} did not end in {SESSION_SECONDS:.0f} s") from None
    finally:
        process.stop()
    if status:
        raise PwmError(f"session {arguments[0]} failed with status {status}")
    return json.loads(output.read_text())


def _segments(swing_up: str, balance: str) -> list[str]:
    """Return the live session: balance; swap, with the pole put down at once; swap back."""
    segments = (
        f"policy={balance},task={balance},seconds=5,seed=1,label=balance",
        f"policy={swing_up},task={swing_up},seconds=9,seed=1,label=swing-up",
        f"policy={balance},seconds=5,label=balance again",
    )
    return [word for segment in segments for word in ("--segment", segment)]


def _compare(lockstep: dict[str, Any], evaluation: Path) -> bool:
    """Print the lockstep return beside ``pwm eval``'s; return whether they agree."""
    score = next(
        s
        for s in json.loads(evaluation.read_text())["scores"]
        if (s["task"], s["controller"]) == (lockstep["task"], "extracted policy")
    )
    expected = score["returns"][score["seeds"].index(lockstep["seed"])]
    difference = abs(lockstep["return"] - expected) / abs(expected)
    row = {
        "task": lockstep["task"],
        "seed": lockstep["seed"],
        "decisions": lockstep["steps"],
        "return over ROS 2": lockstep["return"],
        "return of pwm eval": expected,
        "relative difference": f"{difference:.1e}",
        "decisions per second": lockstep["steps"] / lockstep["wall_seconds"],
    }
    print_table("Lockstep episode", [row], as_json=False)
    if difference > LOCKSTEP_TOLERANCE:
        print(f"the returns differ by more than {LOCKSTEP_TOLERANCE:g} relative")
    return difference <= LOCKSTEP_TOLERANCE


def _show(live: dict[str, Any]) -> None:
    segments = [
        {
            "segment": segment["label"],
            "policy": segment["policy"],
            "seconds": segment["seconds"],
            "mean reward (of 2)": segment["mean_reward"],
            "last reward": segment["last_reward"],
        }
        for segment in live["segments"]
    ]
    print_table("Live session, real time", segments, as_json=False)
    found = live["policy_node"]  # a counter is there once it has counted something
    figures = [{"figure": name, "value": found.get(name, 0)} for name in NODE_FIGURES]
    figures.append({"figure": "real_time_factor", "value": live["real_time_factor"]})
    for swap in live["swaps"]:
        latency = f"{swap['latency_seconds'] * 1e3:.1f} ms from request to first action"
        figures.append({"figure": f"swap to {swap['policy']}", "value": latency})
    refused = live["refused_swap"]
    figures.append({"figure": "refused swap", "value": refused["message"]})
    running = f"{refused['policy_still_running']}, {refused['frames_after']} observations since"
    figures.append({"figure": "still running after it", "value": running})
    print_table("Policy node", figures, as_json=False)
