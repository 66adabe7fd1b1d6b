# SPDX-License-Identifier: Apache-2.0
"""Online fine-tuning in closed loop over ROS: what a shift costs, and what comes back.

    python -m pwm_bringup.finetune_trial --shift actuator_gain=0.4 --out runs/online_trial

Simulator, policy node and fine-tuning node are the real ones, in lockstep: the simulation waits for
the policy, and stands while the learner works, so that episodes are counted and not seconds. With
``--real-time`` it adapts by the wall clock instead, the learner at the lowest priority beside it.
``--poison -1`` negates the rewards that the fine-tuning node hears of. ``OUT/trial.json`` keeps
everything; ``pwm_bringup.finetune_results`` makes tables of several.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import fields
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import rclpy
from pwm_interfaces.msg import Observation
from rclpy.signals import SignalHandlerOptions
from std_msgs.msg import String

from pwm_bringup.finetune_events import Events
from pwm_bringup.finetune_results import curve, markdown
from pwm_bringup.nodes import NodeProcess, Value
from pwm_bringup.processes import RosProcess, leased_domain, stop_all
from pwm_bringup.session import (
    EVERY_MESSAGE,
    LATCHED,
    LOCKSTEP_PATIENCE,
    Session,
    SessionError,
    run_lockstep,
    write_json,
)
from pwm_core.errors import PwmError
from pwm_core.run_directory import RunDirectoryError, git_revision, start_over
from pwm_core.studies.runner import processor
from pwm_core.tasks.shift import Shift

SEED = 10_000
"""First seed of the episodes that compare; the robot's own have others."""
LEARNS = ("learning", "exporting")
"""Phases in which the learner works; in lockstep the robot waits for it."""
ROUND_SECONDS = 3600.0
SHIFTS = [field.name for field in fields(Shift)]
POISONED = "poisoned_observation"
"""Topic of observations whose rewards were multiplied."""


class Trial:
    """A robot, its policy, and what is known of its fine-tuning."""

    def __init__(self, session: Session, arguments: argparse.Namespace) -> None:
        self.session, self._arguments = session, arguments
        self.events = Events(session)
        self.states: list[dict[str, Any]] = []
        session.create_subscription(String, "finetune_node/state", self._on_state, LATCHED)
        self.learning = self.seconds = 0.0
        """Seconds that the learner, and all of the adaptation, took."""
        self.ticks = {stage: {"ticks": 0, "missed": 0} for stage in ("acting", "learning")}
        """Of the control loop in real time, without and with a learner beside it."""

    def _on_state(self, message: String) -> None:
        self.states.append(json.loads(message.data))

    def returns(self, stage: str) -> list[float]:
        """Return what the acting policy earns in the episodes that compare, in lockstep."""
        found, policy = [], ""
        for number in range(self._arguments.episodes):
            record = run_lockstep(self.session, self._arguments.task, "", SEED + number)
            policy = record["policy"]
            found.append(float(record["return"]))
            self.events.note_episode(stage, policy, found[-1])
        print(f"{stage}: {np.mean(found):.1f} ({policy})", flush=True)
        return found

    def shift(self) -> None:
        """Change the robot."""
        shift = self._arguments.shift
        self.session.configure("mujoco_bridge", **_shift(shift))
        self.events.note("shift", shift=shift)

    def adapt(self) -> None:
        """Let the robot act and learn until the last round has ended."""
        self.session.spin_until(lambda: bool(self.states), "the fine-tuning node")
        begun, real_time = time.monotonic(), self._arguments.real_time
        self.events.adapting = True
        if real_time:
            self.session.configure("policy_node", trigger="clock")
        else:  # a machine that halts is no reason for a safe action, which would end a trial
            self.session.set_patience(LOCKSTEP_PATIENCE)
        self._drive("realtime" if real_time else "lockstep")
        while not self._ended:
            learns, since, before = self._learns, time.monotonic(), self._ticks()
            if learns:
                print(f"  round {self.states[-1]['round']}: the learner works", flush=True)
            if not real_time:
                self._drive("paused" if learns else "lockstep")
            self._until(not learns)
            self.learning += time.monotonic() - since if learns else 0.0
            counts = self.ticks["learning" if learns else "acting"]
            for name, count in self._ticks().items():
                counts[name] += count - before[name]
        self.events.adapting = False
        self.seconds = time.monotonic() - begun

    def _until(self, learns: bool) -> None:
        """Wait until the learner works, or does not, or all has ended."""
        what = "the robot's episodes" if learns else "the learner"
        self.session.spin_until(lambda: self._ended or self._learns == learns, what, ROUND_SECONDS)

    @property
    def _ended(self) -> bool:
        state = self.states[-1] if self.states else {}
        done = state.get("round", 0) >= self._arguments.rounds and state["phase"] == "gathering"
        return done or state.get("phase") == "failed" or state.get("mode") == "stopped"

    @property
    def _learns(self) -> bool:
        return bool(self.states) and self.states[-1]["phase"] in LEARNS

    def _ticks(self) -> dict[str, int]:
        """Return ticks and missed ones so far; lockstep has none to miss."""
        if not self._arguments.real_time:
            return {"ticks": 0, "missed": 0}
        policy, _ = self.session.next_diagnostics()
        return {"ticks": int(policy["ticks"]), "missed": int(policy["missed_ticks"])}

    def _drive(self, mode: str) -> None:
        self.session.configure("mujoco_bridge", mode=mode, auto_reset=True, time_limit=True)


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the record of one trial; ``SessionError`` when the nodes do not do as they should.

    ``RunDirectoryError`` when the directory holds something else than an earlier trial.
    """
    out = arguments.out
    start_over(out, ("trial.json", "mujoco_bridge.log"))
    bundles = out / "bundles"
    bundles.mkdir(parents=True)
    shutil.copy(arguments.bundle, bundles / f"{arguments.task}.onnx")
    print(f"robot, policy and fine-tuning start; their logs go to {out}/*.log", flush=True)
    with leased_domain() as domain:
        rclpy.init(domain_id=domain, signal_handler_options=SignalHandlerOptions.NO)
        try:
            with _robot(arguments, bundles, domain) as processes:
                session = Session(patience=120.0)
                try:
                    trial = Trial(session, arguments)
                    if arguments.poison != 1.0:
                        _poison(session, arguments.poison)
                    record = _measure(trial, arguments, bundles, domain, processes)
                finally:
                    session.close()
        finally:
            rclpy.shutdown()
    write_json(out / "trial.json", record)
    curve(record).savefig(out / "trial.png", dpi=120)
    return record


def _measure(
    trial: Trial,
    arguments: argparse.Namespace,
    bundles: Path,
    domain: int,
    processes: list[RosProcess],
) -> dict[str, Any]:
    nominal = trial.returns("nominal")
    trial.shift()
    shifted = trial.returns("shifted")
    node = NodeProcess("pwm_finetune", "finetune_node", _finetuning(arguments, bundles))
    processes.append(_start(node, domain, arguments.out))
    trial.adapt()
    processes.pop().stop()
    adapted = trial.returns("adapted")
    lost, regained = np.mean(nominal) - np.mean(shifted), np.mean(adapted) - np.mean(shifted)
    return {
        "task": arguments.task,
        "shift": arguments.shift,
        "seed": arguments.seed,
        "poison": arguments.poison,
        "real_time": arguments.real_time,
        "nominal": nominal,
        "shifted": shifted,
        "adapted": adapted,
        "recovered": float(regained / lost) if lost > 0 else None,
        "episodes": trial.events.episodes,
        "learner_minutes": trial.learning / 60,
        "minutes": trial.seconds / 60,
        "ticks": trial.ticks,
        "running": trial.session.status.policy,
        "state": trial.states[-1],
        "verdicts": trial.events.verdicts,
        "events": trial.events.found,
        "date": date.today().isoformat(),
        "revision": git_revision(),
        "machine": processor(),
    }


@contextlib.contextmanager
def _robot(arguments: argparse.Namespace, bundles: Path, domain: int) -> Iterator[list[RosProcess]]:
    bridge: dict[str, Value] = {"task": arguments.task, "mode": "lockstep", "auto_reset": False}
    policy: dict[str, Value] = {"policy_dir": str(bundles.absolute()), "trigger": "observation"}
    nodes = [
        NodeProcess("pwm_mujoco", "mujoco_bridge", bridge),
        NodeProcess("pwm_policy", "policy_node", policy),
    ]
    processes = [_start(node, domain, arguments.out) for node in nodes]
    try:
        yield processes
    finally:
        stop_all(processes)


def _start(node: NodeProcess, domain: int, out: Path) -> RosProcess:
    """Start a node whose output goes to ``OUT/NODE.log``."""
    log = open(out / f"{node.executable}.log", "w")  # noqa: SIM115 (ends with the process)
    return RosProcess.of_node(
        node, domain=domain, sink=lambda line: print(line, file=log, flush=True)
    )


def _poison(session: Session, factor: float) -> None:
    """Publish observations again with their rewards multiplied."""
    publisher = session.create_publisher(Observation, POISONED, EVERY_MESSAGE)

    def forward(message: Observation) -> None:
        message.reward *= factor
        message.episode_return *= factor
        publisher.publish(message)

    session.create_subscription(Observation, "observation", forward, EVERY_MESSAGE)


def _finetuning(arguments: argparse.Namespace, bundles: Path) -> dict[str, Value]:
    options = f"--seed {arguments.seed} {arguments.finetune_options}"
    given: dict[str, Value] = {
        "task": arguments.task,
        "policy": str(arguments.policy.absolute()),
        "world_model": str(arguments.world_model.absolute()),
        "offline": str(arguments.offline.absolute()),
        "directory": str((arguments.out / "online").absolute()),
        "policy_dir": str(bundles.absolute()),
        "finetune_options": options.strip(),
        "observation_topic": POISONED if arguments.poison != 1.0 else "observation",
        "learner": f"{sys.executable} -m pwm_core.cli",
    }
    numbers: dict[str, Value] = {
        "episodes_per_round": arguments.episodes_per_round,
        "watch_episodes": arguments.watch,
        "baseline_episodes": arguments.watch,
        "learner_niceness": 19 if arguments.real_time else 0,  # else the robot stands meanwhile
    }
    return given | numbers | {"exploration_noise": arguments.noise}


def _shift(text: str) -> dict[str, float | int]:
    """Read ``actuator_gain=0.4``: a parameter of the bridge and its value."""
    name, _, value = text.partition("=")
    if name not in SHIFTS:
        raise ValueError(f"--shift {text}: expected NAME=VALUE, a name of {', '.join(SHIFTS)}")
    try:
        found = {name: int(value) if name == "observation_delay" else float(value)}
        Shift(**found)  # type: ignore[arg-type]
    except (ValueError, PwmError) as error:
        raise ValueError(f"--shift {text}: {error}") from error
    return found


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--task", default="cartpole-swingup")
    parser.add_argument("--shift", default="actuator_gain=0.4", help="bridge parameter and value")
    parser.add_argument(
        "--bundle", type=Path, default=Path("runs/demo/bundles/cartpole-swingup.onnx")
    )
    parser.add_argument(
        "--policy",
        type=Path,
        default=Path("runs/demo/policies/cartpole-swingup/policy.safetensors"),
    )
    parser.add_argument(
        "--world-model", type=Path, default=Path("runs/demo/world_model/world_model.safetensors")
    )
    parser.add_argument("--offline", type=Path, default=Path("runs/demo/data"))
    parser.add_argument("--out", type=Path, default=Path("runs/online_trial"), help="replaced")
    parser.add_argument("--episodes", type=int, default=10, help="episodes of a comparison")
    parser.add_argument("--rounds", type=int, default=3, help="candidates")
    parser.add_argument("--episodes-per-round", type=int, default=9)
    parser.add_argument("--watch", type=int, default=3, help="episodes a candidate is watched")
    parser.add_argument(
        "--noise", type=float, nargs="+", default=[0.1, 0.2], help="fractions of the action range"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the learner")
    parser.add_argument(
        "--real-time",
        action="store_true",
        help="adapt by the wall clock, the learner beside the robot, and count the missed ticks",
    )
    parser.add_argument(
        "--poison",
        type=float,
        default=1.0,
        metavar="FACTOR",
        help="multiplies the rewards that the fine-tuning node hears of; -1 negates them",
    )
    parser.add_argument(
        "--finetune-options", default="", help="further options of `pwm finetune`, in one string"
    )
    arguments = parser.parse_args()
    try:
        _shift(arguments.shift)
    except ValueError as error:
        parser.error(str(error))
    for name in ("bundle", "policy", "world_model", "offline"):
        if not (path := getattr(arguments, name)).exists():
            option = name.replace("_", "-")
            parser.error(f"--{option} {path} does not exist; `make demo` makes the default ones")
    return arguments


def main() -> int:
    """Run one trial and print what came of it; 1 when the nodes failed it."""
    arguments = _arguments()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        record = run(arguments)
    except RunDirectoryError as error:
        print(f"finetune_trial: {error}", file=sys.stderr)
        return 2
    except (PwmError, SessionError) as error:
        print(f"finetune_trial: {error}; see {arguments.out}/*.log", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\ninterrupted; the same command begins anew", file=sys.stderr)
        return 130
    print(markdown([record]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
