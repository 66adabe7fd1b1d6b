# SPDX-License-Identifier: Apache-2.0
"""``session``: drive a simulation and its policy node as a client, and record what happened.

    ros2 run pwm_bringup session lockstep --output lockstep.json --seed 1
    ros2 run pwm_bringup session live --output live.json --segment policy=balance,seconds=4 ...

Times in the records are seconds; those of frames count simulated time from the first frame.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, get_type_hints
from weakref import WeakSet

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from pwm_interfaces.msg import Action, Observation, PolicyStatus
from pwm_interfaces.srv import ResetEpisode, SwapPolicy
from rcl_interfaces.srv import GetParameters, SetParameters
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import QoSDurabilityPolicy, QoSProfile
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import JointState

EVERY_MESSAGE = QoSProfile(depth=2000)
LATCHED = QoSProfile(depth=1, durability=QoSDurabilityPolicy.TRANSIENT_LOCAL)
ANSWER_SECONDS = 20.0
"""How long a service, a topic or a diagnostic may take to answer, if nothing else is said."""
LOCKSTEP_PATIENCE = 60.0
"""Seconds after which an observation is stale to a policy that the simulation waits for: what a
machine that halts delays is not, and a safe action would count for the rate of the next one."""
REPEAT_SECONDS = 5.0
"""After how long a request that may be repeated is."""
SEED = 0


class SessionError(RuntimeError):
    """The nodes did not do what was asked; the message says what."""


@dataclass(frozen=True)
class Segment:
    """A stretch of a live session."""

    policy: str
    """Policy that acts; swapped to if another one does."""
    seconds: float
    """Wall time."""
    task: str = ""
    """Task to reset to at the start; empty: go on."""
    seed: int = SEED
    """Seed of that reset."""
    blend: float = 0.0
    """Seconds over which a swap blends."""
    label: str = ""
    """For reports; default: the policy's name."""

    @classmethod
    def parse(cls, text: str) -> Segment:
        """Read ``policy=NAME,seconds=4,task=...``; ``ValueError`` for anything else."""
        given = dict(part.partition("=")[::2] for part in text.split(","))
        kinds: dict[str, type] = get_type_hints(cls)
        unknown = sorted(set(given) - set(kinds))
        if unknown or not {"policy", "seconds"} <= set(given):
            raise ValueError(f"segment {text!r}: needs policy and seconds, knows {list(kinds)}")
        segment = cls(**{name: kinds[name](value) for name, value in given.items()})
        if not 0 < segment.seconds < math.inf:
            raise ValueError(f"segment {text!r}: seconds must be above 0")
        return segment


@dataclass(frozen=True)
class Frame:
    """One observation, and the joints and the policy that belong to it."""

    stamp: float
    arrived: float
    step: int
    episode: int
    episode_step: int
    task: str
    policy: str
    reward: float
    episode_return: float
    ended: bool


class Session(Node):
    """A client of one bridge and one policy node that records all they publish."""

    def __init__(
        self,
        bridge: str = "mujoco_bridge",
        policy_node: str = "policy_node",
        patience: float = ANSWER_SECONDS,
    ) -> None:
        super().__init__("session")
        self._patience = patience
        self._spinner = SingleThreadedExecutor()
        self._spinner.add_node(self)
        self._bridge, self._policy_node = bridge, policy_node
        self.frames: list[Frame] = []
        self.joint_names: list[str] = []
        self.positions: dict[float, list[float]] = {}
        self.first_actions: dict[int, float] = {}
        self.status = PolicyStatus()
        self.diagnostics: dict[str, dict[str, str]] = {}
        self._policy = ""
        self._known: WeakSet[Any] = WeakSet()
        self.swap_client: Any = self.create_client(SwapPolicy, f"{policy_node}/swap_policy")
        self.reset_client: Any = self.create_client(ResetEpisode, f"{bridge}/reset")
        self.parameter_clients: dict[str, Any] = {
            node: self.create_client(SetParameters, f"{node}/set_parameters")
            for node in (bridge, policy_node)
        }
        self.create_subscription(Observation, "observation", self._on_observation, EVERY_MESSAGE)
        self.create_subscription(JointState, "joint_states", self._on_joints, EVERY_MESSAGE)
        self.create_subscription(Action, "action", self._on_action, EVERY_MESSAGE)
        self.create_subscription(PolicyStatus, f"{policy_node}/status", self._on_status, LATCHED)
        self.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 50)

    def close(self) -> None:
        """Leave the ROS graph."""
        self._spinner.shutdown()
        self.destroy_node()

    # What arrives

    def _on_observation(self, message: Observation) -> None:
        if self.frames and message.step <= self.frames[-1].step:
            return  # repeated while waiting
        stamp = message.header.stamp.sec + message.header.stamp.nanosec * 1e-9
        self.frames.append(
            Frame(
                stamp,
                time.monotonic(),
                message.step,
                message.episode,
                message.episode_step,
                message.task,
                self._policy,
                message.reward,
                message.episode_return,
                message.terminated or message.truncated,
            )
        )

    def _on_joints(self, message: JointState) -> None:
        stamp = message.header.stamp.sec + message.header.stamp.nanosec * 1e-9
        self.joint_names = list(message.name)
        self.positions[stamp] = list(message.position)

    def _on_action(self, message: Action) -> None:
        self._policy = message.policy
        if not message.safe:
            self.first_actions.setdefault(message.policy_epoch, time.monotonic())

    def _on_status(self, message: PolicyStatus) -> None:
        self.status = message

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            node = status.name.partition(":")[0].rpartition("/")[2]
            self.diagnostics[node] = {value.key: value.value for value in status.values}

    # What is asked for

    def spin_until(
        self, condition: Callable[[], bool], what: str, seconds: float | None = None
    ) -> None:
        """Handle messages until ``condition`` holds; :class:`SessionError` after ``seconds``."""
        seconds = self._patience if seconds is None else seconds
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                raise SessionError(
                    f"waited {seconds:.0f} s for {what}; the last word of {self._policy_node}: "
                    f"{self.status.state or 'none'} {self.status.reason}"
                )
            self._spinner.spin_once(timeout_sec=0.1)

    def wait_for_frame(self, what: str) -> None:
        """Handle messages until there is another frame; :class:`SessionError` if none comes."""
        heard = len(self.frames)
        self.spin_until(lambda: len(self.frames) > heard, what)

    def spin_for(self, seconds: float) -> None:
        """Handle messages for so many seconds."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            self._spinner.spin_once(timeout_sec=left)

    def connect(self) -> None:
        """Wait until both nodes are there and the policy is active."""
        for client in (self.swap_client, self.reset_client):
            self.be_known(client)
        self.spin_until(
            lambda: self.status.state == "active",
            f"{self._policy_node} to be active",
        )
        self.spin_until(lambda: bool(self.frames), "an observation")
        self.spin_until(lambda: bool(self._policy), "an action")

    def call(self, client: Any, request: Any) -> Any:
        """Call a service; :class:`SessionError` when it does not answer."""
        self.be_known(client)
        future = client.call_async(request)
        self.spin_until(future.done, f"an answer of {client.srv_name}")
        return future.result()

    def be_known(self, client: Any) -> None:
        """Wait until the node behind a service has found ``client``, which found it before.

        Else its answer would be lost. A node finds clients in the order in which they were made:
        whoever gets an answer to a younger one is known.
        """
        if client in self._known:
            return
        self.spin_until(client.service_is_ready, f"service {client.srv_name}")
        node = client.srv_name.rpartition("/")[0]
        younger: Any = self.create_client(SetParameters, f"{node}/set_parameters")
        self._call_again(younger, SetParameters.Request())
        self.destroy_client(younger)
        self._known.add(client)

    def _call_again(self, client: Any, request: Any) -> Any:
        """Call a service that may be called twice, again while nothing comes back."""
        self.spin_until(client.service_is_ready, f"service {client.srv_name}")
        futures: list[Any] = []
        asked = -math.inf

        def answered() -> bool:
            nonlocal asked
            if time.monotonic() - asked > REPEAT_SECONDS:
                asked = time.monotonic()
                futures.append(client.call_async(request))
            return any(future.done() for future in futures)

        self.spin_until(answered, f"an answer of {client.srv_name}")
        return next(future for future in futures if future.done()).result()

    def configure(self, node: str, **values: Any) -> None:
        """Set parameters of a node, all or none."""
        request = SetParameters.Request()
        request.parameters = [
            Parameter(name, value=value).to_parameter_msg() for name, value in values.items()
        ]
        for result in self._call_again(self.parameter_clients[node], request).results:
            if not result.successful:
                raise SessionError(f"{node} refused {values}: {result.reason}")

    def drive(self, mode: str, trigger: str, time_limit: bool) -> None:
        """Put the bridge in ``mode`` and let the policy act on ``trigger``; no automatic resets."""
        self.configure(self._policy_node, trigger=trigger)
        self.configure(self._bridge, mode=mode, auto_reset=False, time_limit=time_limit)

    def set_patience(self, seconds: float) -> float:
        """Set after how long an observation is stale to the policy; return how long it was."""
        name = "stale_timeout"
        client: Any = self.create_client(GetParameters, f"{self._policy_node}/get_parameters")
        before = self._call_again(client, GetParameters.Request(names=[name])).values[0]
        self.destroy_client(client)
        self.configure(self._policy_node, **{name: seconds})
        return before.double_value

    def reset(self, seed: int, task: str = "") -> int:
        """Start an episode and return its number."""
        answer = self.call(self.reset_client, ResetEpisode.Request(seed=seed, task=task))
        if not answer.success:
            raise SessionError(f"reset to {task or 'the same task'} refused: {answer.message}")
        return answer.episode

    def swap(self, policy: str, blend: float = 0.0) -> dict[str, Any]:
        """Ask for a swap; return what was answered and how long the first action took."""
        asked = time.monotonic()
        answer = self.call(self.swap_client, SwapPolicy.Request(name=policy, blend_seconds=blend))
        record: dict[str, Any] = {
            "policy": policy,
            "success": answer.success,
            "message": answer.message,
            "known": list(answer.known),
            "epoch": answer.policy_epoch,
            "answer_seconds": time.monotonic() - asked,
        }
        if answer.success:
            epoch = answer.policy_epoch
            self.spin_until(lambda: epoch in self.first_actions, f"an action of {policy}")
            self.spin_until(
                lambda: (
                    self.status.policy_epoch == epoch and not math.isnan(self.status.swap_latency)
                ),
                f"the status of {policy}",
            )
            record["latency_seconds"] = self.first_actions[epoch] - asked
            record["latency_of_node_seconds"] = self.status.swap_latency
        return record

    def require_swap(self, policy: str, blend: float = 0.0) -> dict[str, Any]:
        """Swap; :class:`SessionError` when it is refused."""
        record = self.swap(policy, blend)
        if not record["success"]:
            raise SessionError(f"swap to {policy} refused: {record['message']}")
        return record

    def next_diagnostics(self) -> tuple[dict[str, str], dict[str, str]]:
        """Wait for a new diagnostic of both nodes; return policy node's and bridge's."""
        wanted = (self._policy_node, self._bridge)
        for _ in range(2):  # the first one may have been on its way
            self.diagnostics.clear()
            self.spin_until(
                lambda: set(wanted) <= set(self.diagnostics), "/diagnostics of both nodes"
            )
        return self.diagnostics[wanted[0]], self.diagnostics[wanted[1]]

    def recorded(self, frames: list[Frame]) -> dict[str, Any]:
        """Return frames as columns, those whose joint positions arrived too."""
        frames = [frame for frame in frames if frame.stamp in self.positions]
        start = frames[0].stamp if frames else 0.0
        return {
            "joints": self.joint_names,
            "time": [round(frame.stamp - start, 6) for frame in frames],
            "episode": [frame.episode for frame in frames],
            "task": [frame.task for frame in frames],
            "policy": [frame.policy for frame in frames],
            "reward": [frame.reward for frame in frames],
            "positions": [self.positions[frame.stamp] for frame in frames],
        }


def run_lockstep(session: Session, task: str, policy: str, seed: int) -> dict[str, Any]:
    """Run one episode in lockstep and return its record; ``policy`` empty keeps the active one."""
    session.connect()
    if policy and policy != session.status.policy:
        session.require_swap(policy)
    session.drive("lockstep", "observation", time_limit=True)
    patience = session.set_patience(LOCKSTEP_PATIENCE)
    started = time.monotonic()
    episode = session.reset(seed, task)

    def ended() -> bool:
        last = session.frames[-1] if session.frames else None
        return last is not None and last.episode == episode and last.ended

    while not ended():
        session.wait_for_frame("the next observation")
    frames = [frame for frame in session.frames if frame.episode == episode]
    last = frames[-1]
    session.spin_until(lambda: last.stamp in session.positions, "the last joint states")
    session.set_patience(patience)
    return {
        "task": last.task,
        "policy": session.status.policy,
        "seed": seed,
        "return": last.episode_return,
        "steps": last.episode_step,
        "observations_received": len(frames),
        "wall_seconds": time.monotonic() - started,
        "frames": session.recorded(frames),
    }


def run_live(session: Session, segments: list[Segment], unknown: str) -> dict[str, Any]:
    """Run segments in real time, swapping and resetting while the policy node goes on.

    At the end a swap to ``unknown``, which no policy may be called, has to be refused.
    """
    session.connect()
    first = segments[0]
    if first.policy != session.status.policy:
        session.require_swap(first.policy)
    session.drive("realtime", "clock", time_limit=False)
    session.reset(first.seed, first.task)
    session.frames.clear()
    records = [_run_segment(session, segment, index) for index, segment in enumerate(segments)]
    refused = session.swap(unknown)
    if refused["success"]:
        raise SessionError(f"a swap to {unknown!r}, which no policy should be called, succeeded")
    frames_before = len(session.frames)
    session.wait_for_frame("the simulation to go on")
    policy, bridge = session.next_diagnostics()
    live = session.frames
    simulated = live[-1].stamp - live[0].stamp
    return {
        "segments": records,
        "swaps": [record["swap"] for record in records if record["swap"]],
        "refused_swap": {
            **refused,
            "policy_still_running": session.status.policy,
            "frames_after": len(live) - frames_before,
        },
        "policy_node": _numbers(policy),
        "bridge": _numbers(bridge),
        "real_time_factor": simulated / (live[-1].arrived - live[0].arrived),
        "frames": session.recorded(live),
    }


def _run_segment(session: Session, segment: Segment, index: int) -> dict[str, Any]:
    swap = None
    if segment.policy != session.status.policy:
        swap = session.require_swap(segment.policy, segment.blend)
    if segment.task and index > 0:
        session.reset(segment.seed, segment.task)
    begin = len(session.frames)
    session.spin_for(segment.seconds)
    frames = session.frames[begin:]
    if not frames:
        raise SessionError(f"no observation in {segment.seconds} s of segment {index}")
    rewards = [frame.reward for frame in frames]
    return {
        **asdict(segment),
        "label": segment.label or segment.policy,
        "task": frames[-1].task,
        "swap": swap,
        "steps": len(frames),
        "return": sum(rewards),
        "mean_reward": sum(rewards) / len(rewards),
        "last_reward": rewards[-1],
        "begin": frames[0].stamp - session.frames[0].stamp,
        "end": frames[-1].stamp - session.frames[0].stamp,
    }


def _numbers(values: dict[str, str]) -> dict[str, Any]:
    """Return diagnostic values as numbers where they are some; not finite ones as None."""

    def number(text: str) -> Any:
        try:
            value = float(text)
        except ValueError:
            return text
        if not math.isfinite(value):
            return None
        return int(value) if text.lstrip("-").isdigit() else value

    return {key: number(text) for key, text in values.items()}


def write_json(path: Path, record: dict[str, Any]) -> None:
    """Write ``record`` so that the file is either whole or not there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    partial.write_text(json.dumps(record, allow_nan=False) + "\n")
    partial.replace(path)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="session", description=__doc__.partition("\n")[0])
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--output", type=Path, required=True, help="JSON file to write")
    common.add_argument("--bridge", default="mujoco_bridge", help="name of the simulator node")
    common.add_argument("--policy-node", default="policy_node", help="name of the policy node")
    kinds = parser.add_subparsers(dest="kind", required=True)
    lockstep = kinds.add_parser("lockstep", parents=[common], help="one reproducible episode")
    lockstep.add_argument("--task", default="", help="task to reset to; empty: the present one")
    lockstep.add_argument("--policy", default="", help="policy to swap to; empty: the active one")
    lockstep.add_argument("--seed", type=int, default=SEED, help="seed of the episode")
    live = kinds.add_parser("live", parents=[common], help="segments in real time")
    live.add_argument(
        "--segment",
        dest="segments",
        action="append",
        type=Segment.parse,
        required=True,
        help="policy=NAME,seconds=N[,task=NAME][,seed=N][,blend=N][,label=TEXT]; may be repeated",
    )
    live.add_argument("--unknown", default="no-such-policy", help="name of a swap to be refused")
    return parser.parse_args(rclpy.utilities.remove_ros_args(sys.argv)[1:])


def main() -> int:
    """Run one session; 1 when the nodes failed it."""
    arguments = _arguments()
    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    session = Session(arguments.bridge, arguments.policy_node)
    try:
        if arguments.kind == "lockstep":
            record = run_lockstep(session, arguments.task, arguments.policy, arguments.seed)
        else:
            record = run_live(session, arguments.segments, arguments.unknown)
        write_json(arguments.output, record)
    except SessionError as error:
        print(f"session: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    finally:
        session.close()
        rclpy.shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())
