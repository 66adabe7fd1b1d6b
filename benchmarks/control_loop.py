# SPDX-License-Identifier: Apache-2.0
"""The policy node against a bare loop with the same ONNX Runtime call, both over DDS.

Each is a process of its own, with the same subscription and the same message as its answer; one
runs while the others are stopped (SIGSTOP), in turns. This process publishes the observations.

- latency: ``trigger: observation``; from before an observation is published here to its answer
  being handed over here, two DDS hops included, which are the same for both.
- period: ``trigger: clock``; from the stamps of consecutive actions.
- swaps: 200 swaps in a row among three policies at 100 Hz, each once the one before has acted,
  while bundles are loaded and policies are listed all the time. Bar: no missed tick.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import signal
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx

from benchmarks.inference import exported_bundle
from benchmarks.measure import Row, function_rows
from benchmarks.settings import Settings
from pwm_export.bundle import METADATA_KEY, Bundle

if TYPE_CHECKING:
    from benchmarks.loop_client import Block, Feed, Load, LoopClient

NODE, BARE = "policy_node", "bare loop"
PROGRAMS = (NODE, BARE)
TRIGGERS = ("clock", "observation")
SWAP_RATE = 100
POLICIES = ("first", "second", "third")


@dataclass(frozen=True)
class Loop:
    """A program under one trigger, stopped except while it is measured."""

    program: str
    trigger: str
    pid: int
    feed: Feed

    def run(self, seconds: float, load: Load | None = None) -> Block:
        """Return what a block brought."""
        os.kill(self.pid, signal.SIGCONT)
        try:
            return self.feed.run(seconds, self.pid, load)
        finally:
            os.kill(self.pid, signal.SIGSTOP)


def at_rate(bundle: Bundle, rate: float, path: Path) -> Path:
    """Write ``bundle``'s graph as one that decides ``rate`` times a second."""
    model = onnx.load(bundle.path)
    metadata = {**bundle.metadata, "name": path.stem, "control_step": 1.0 / rate}
    onnx.helper.set_model_props(model, {METADATA_KEY: json.dumps(metadata)})
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, path)
    return path


def measure(directory: Path, settings: Settings) -> list[Row]:
    """Return a row per rate and program, and one of the swaps."""
    bundle = exported_bundle(directory, settings)
    rows = []
    for rate in settings.rates:
        with loops(bundle, rate, directory / f"{rate}", PROGRAMS, TRIGGERS) as (_, running):
            blocks: dict[tuple[str, str], list[Block]] = {}
            for _ in range(settings.rounds):
                for loop in running:
                    block = loop.run(settings.block_seconds)
                    blocks.setdefault((loop.program, loop.trigger), []).append(block)
        rows += [_row(f"{rate} Hz", program, blocks) for program in PROGRAMS]
    return [*rows, swaps(bundle, directory / "swaps", settings)]


def _row(case: str, program: str, blocks: dict[tuple[str, str], list[Block]]) -> Row:
    clocked = blocks[program, "clock"]
    errors = np.concatenate([block.period_errors for block in clocked])
    latencies = _latencies(blocks[program, "observation"])
    own, bare = (_p99s(blocks[name, "observation"]) for name in (program, BARE))
    return {
        "case": case,
        "program": program,
        **_milliseconds("period error", errors, (50, 99, 99.9)),
        **_milliseconds("latency", latencies, (50, 99)),
        "p99 / bare": float(np.median(own / bare)),
        "times reference": float(np.median(bare / own)),
        "CPU": float(np.mean([block.cpu for block in clocked])),
        "ticks": len(errors) + len(clocked),
        "missed ticks": sum(block.missed for block in clocked),
    }


def _latencies(blocks: Sequence[Block]) -> np.ndarray:
    return np.concatenate([list(block.latencies.values()) for block in blocks])


def _p99s(blocks: Sequence[Block]) -> np.ndarray:
    return np.array([np.percentile(_latencies([block]), 99) for block in blocks])


def _milliseconds(name: str, seconds: np.ndarray, percentiles: Sequence[float]) -> Row:
    values = 1e3 * np.percentile(seconds, percentiles)
    pairs = zip(percentiles, values, strict=True)
    return {f"{name} p{number:g} ms": float(value) for number, value in pairs}


@contextlib.contextmanager
def loops(
    bundle: Bundle, rate: float, directory: Path, programs: Sequence[str], triggers: Sequence[str]
) -> Iterator[tuple[LoopClient, list[Loop]]]:
    """Run every program under every trigger; all are stopped once they have answered."""
    import rclpy

    from benchmarks.loop_client import LoopClient
    from pwm_bringup.processes import leased_domain

    paths = [at_rate(bundle, rate, directory / f"{name}.onnx") for name in POLICIES]
    processes: list[subprocess.Popen] = []
    with leased_domain() as domain:
        rclpy.init(domain_id=domain)
        client = LoopClient(bundle)
        try:
            running = []
            for program, trigger in itertools.product(programs, triggers):
                namespace = f"/{program.replace(' ', '_')}_{trigger}"
                process = _start(program, trigger, paths[0], namespace, domain)
                processes.append(process)
                feed = client.connect(namespace, 1.0 / rate)
                running.append(Loop(program, trigger, process.pid, feed))
                process.send_signal(signal.SIGSTOP)
            yield client, running
        finally:
            for process in processes:  # all: one that is stopped may hold a lock of shared memory
                process.send_signal(signal.SIGCONT)
            for process in processes:
                process.terminate()
            for process in processes:
                process.wait(timeout=20)
            client.destroy_node()
            rclpy.shutdown()


def _start(program: str, trigger: str, path: Path, namespace: str, domain: int) -> subprocess.Popen:
    from pwm_bringup.processes import environment, executable

    if program == BARE:
        command = [sys.executable, "-m", "benchmarks.bare_loop", str(path), trigger, "--ros-args"]
    else:
        command = [str(executable("pwm_policy", "policy_node")), "--ros-args"]
        parameters = {"policy_dir": path.parent, "policy": path.stem, "trigger": trigger}
        for name, value in parameters.items():
            command += ["-p", f"{name}:={value}"]
    command += ["-r", f"__ns:={namespace}", "--log-level", "warn"]
    return subprocess.Popen(command, env=environment(domain), stdout=subprocess.DEVNULL)


def swaps(bundle: Bundle, directory: Path, settings: Settings) -> Row:
    """Return the row of swaps under load; its reference is the period error's p99 without."""
    with loops(bundle, SWAP_RATE, directory, [NODE], ["clock"]) as (client, [loop]):
        quiet = loop.run(settings.block_seconds)
        calls = _Calls(client, f"/{NODE}_clock/{NODE}", settings.swaps)
        block = loop.run(settings.block_seconds, calls)
        calls.require_success()
        errors, without = block.period_errors, quiet.period_errors
    if sorted(block.epochs) != block.epochs:
        raise ValueError(f"policy epochs go back: {block.epochs}")
    return {
        "case": f"{settings.swaps} swaps, {SWAP_RATE} Hz",
        "program": NODE,
        **_milliseconds("period error", errors, (50, 99, 99.9)),
        "latency p50 ms": None,
        "latency p99 ms": None,
        "p99 / bare": None,
        "times reference": float(np.percentile(without, 99) / np.percentile(errors, 99)),
        "CPU": block.cpu,
        "ticks": len(errors) + 1,
        "missed ticks": block.missed,
    }


class _Calls:
    """Swaps, each once the one before has acted, with loading and listing all the time beside."""

    def __init__(self, client: LoopClient, node: str, count: int) -> None:
        from pwm_interfaces.srv import ListPolicies, LoadPolicy, SwapPolicy

        self._count = count
        self._answers: defaultdict[str, list[Any]] = defaultdict(list)
        self._asked = 0
        self._names = itertools.cycle(POLICIES)
        self._swap = _client(client, SwapPolicy, f"{node}/swap_policy")
        self._beside = [
            (_client(client, LoadPolicy, f"{node}/load_policy"), "load_policy"),
            (_client(client, ListPolicies, f"{node}/list_policies"), "list_policies"),
        ]
        self._requests = {
            "swap_policy": lambda: SwapPolicy.Request(name=next(self._names)),
            "load_policy": lambda: LoadPolicy.Request(name=POLICIES[-1]),
            "list_policies": ListPolicies.Request,
        }

    def begin(self) -> None:
        """Load and list for the first time."""
        for caller, service in self._beside:
            self._call(caller, service)

    def going_on(self, block: Block) -> bool:
        """Swap if the last swap has acted; return whether one is still to act."""
        answers = self._answers["swap_policy"]
        if len(answers) < self._asked:
            return True
        if answers and not _has_acted(answers[-1], block):
            return True
        if self._asked < self._count:
            self._asked += 1
            self._call(self._swap, "swap_policy")
            return True
        return False

    def require_success(self) -> None:
        """``ValueError`` unless every swap and every load was done."""
        answers = self._answers["swap_policy"] + self._answers["load_policy"]
        failed = [answer.message for answer in answers if not answer.success]
        if failed:
            raise ValueError(f"refused under load: {failed[0]}")

    def _call(self, caller: Any, service: str) -> None:
        def answered(future: Any) -> None:
            self._answers[service].append(future.result())
            if service != "swap_policy" and self._asked < self._count:
                self._call(caller, service)

        caller.call_async(self._requests[service]()).add_done_callback(answered)


def _has_acted(answer: Any, block: Block) -> bool:
    refused = not answer.success
    return refused or (bool(block.epochs) and block.epochs[-1] >= answer.policy_epoch)


def _client(client: LoopClient, kind: type, name: str) -> Any:
    caller: Any = client.create_client(kind, name)
    client.spin_until(caller.service_is_ready, name)
    return caller


def profiled(directory: Path, settings: Settings) -> list[Row]:
    """Return the costliest functions of a decision of the node's loop, without DDS."""
    decide = _decider(exported_bundle(directory, settings))
    return function_rows(decide, settings.decisions)


def _decider(bundle: Bundle) -> Callable[[], object]:
    from pwm_policy.emergency_stop import EmergencyStop
    from pwm_policy.guard import ActionGuard
    from pwm_policy.inbox import Inbox, Sample
    from pwm_policy.loop import Audience, ControlLoop, LoopSettings, Safeguards
    from pwm_policy.loop_statistics import LoopStatistics
    from pwm_policy.pose import Pose
    from pwm_policy.slot import PolicySlot

    slot, statistics, inbox = PolicySlot(), LoopStatistics(), Inbox()
    slot.start(bundle.name, bundle)
    sample = Sample(1, np.zeros(bundle.observation.size, np.float32), 0.0)
    loop = ControlLoop(
        LoopSettings("observation", bundle.control_step, 1.0),
        slot,
        inbox,
        Safeguards(
            ActionGuard(bundle.action, bundle.control_step), Pose(bundle.action), EmergencyStop()
        ),
        Audience(lambda _: None, lambda: None, lambda _: None, lambda _: None),
        statistics,
    )
    return lambda: loop._tick(sample, 0.0, True, (0.0, 0.0))
