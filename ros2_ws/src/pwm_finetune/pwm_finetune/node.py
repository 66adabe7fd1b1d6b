# SPDX-License-Identifier: Apache-2.0
"""``finetune_node``: records a running policy, learns from it, and proposes better ones.

It never commands a robot: it asks the policy node to swap, as an operator would. Whatever becomes
of this node or its learner, the policy node goes on.
"""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.clock import Clock, ClockType
from rclpy.exceptions import ParameterException
from rclpy.executors import Executor, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSDurabilityPolicy, QoSProfile
from rclpy.signals import SignalHandlerOptions
from std_msgs.msg import String
from std_srvs.srv import Trigger

from pwm_core.errors import PwmError
from pwm_core.files import sha256
from pwm_core.stop_signals import stop_requested
from pwm_diagnostics import diagnostic_message
from pwm_finetune import parameters
from pwm_finetune.claim import claim
from pwm_finetune.data import HELD_OUT, TRAINING, OnlineData
from pwm_finetune.explorer import Explorer
from pwm_finetune.learner import progress
from pwm_finetune.lease import Lease
from pwm_finetune.policy_client import Call, PolicyClient, provenance
from pwm_finetune.recorder import Recorder
from pwm_finetune.rounds import Rounds
from pwm_finetune.state import Mode, Phase, State, StateError
from pwm_finetune.transitions import Outcome

LATCHED = QoSProfile(depth=1, durability=QoSDurabilityPolicy.TRANSIENT_LOCAL)
VERDICTS = QoSProfile(depth=20, durability=QoSDurabilityPolicy.TRANSIENT_LOCAL)
STEP_SECONDS = 0.2
GAPS_SECONDS = 10.0
"""How often it is told what was left out, if there is more of it."""
LAST_SECONDS = 3.0
"""How long a node that ends waits for the policy node to end the noise."""
LEARNING = (Phase.LEARNING, Phase.EXPORTING)


class FinetuneNode(Node):
    """Recorder, learner, gate and trial of one robot's policy."""

    def __init__(self) -> None:
        """``ValueError`` or ``PwmError`` when a parameter or a file does not fit."""
        super().__init__("finetune_node")
        parameters.declare(self)
        self._settings = settings = parameters.read(self)
        self._claim = claim(settings.rounds.directory)
        self._data = OnlineData(settings.rounds.directory / "data", settings.task, settings.bounds)
        self._policy_node = PolicyClient(self, settings.policy_node)
        self._states = self.create_publisher(String, "~/state", LATCHED)
        self._verdicts = self.create_publisher(String, "~/verdict", VERDICTS)
        self._progress = self.create_publisher(String, "~/progress", QoSProfile(depth=10))
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
        self._objection = self._told = ""
        self._gaps_told = 0
        self._lineage: Call | None = None
        self._checked = self._ending = False
        self._rounds = Rounds(
            settings.rounds,
            settings.learner,
            self._restored(),
            self._data,
            self._policy_node,
            self._announce,
            self._publish_state,
        )
        self._recorder = Recorder(
            self, settings.topics, settings.task, self._data, self._on_outcome
        )
        self._explorer = Explorer(self._policy_node, settings.exploration)
        self._trial = Lease(self._try_out, "")
        self._create_services()
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(STEP_SECONDS, self._step, clock=steady)
        self.create_timer(1.0, self._every_second, clock=steady)
        self.create_timer(GAPS_SECONDS, self._tell_gaps, clock=steady)
        self._publish_state()

    @property
    def calm(self) -> bool:
        """Whether the policy acts without noise of ours."""
        return self._explorer.calm

    def close(self) -> None:
        """End the learner and the noise; recorded episodes and the state are on disk."""
        if not self._ending and self._rounds.unproven:
            lease = self._settings.trial_lease
            left = f"in {lease:g} s {self._rounds.state.bundle} acts again unless you"
            self.get_logger().warning(
                f"{self._rounds.unproven} acts and nobody watches it any more: "
                f"{left if lease else 'roll back at the policy node, or'} start this node again, "
                "which goes on"
            )
        self._ending = True
        self._rounds.close()
        self._explorer.want(False, 0)

    def _restored(self) -> State:
        """Return where fine-tuning stood, or its beginning."""
        settings = self._settings
        file, origin = settings.rounds.directory / "state.json", sha256(settings.policy)
        if not file.is_file():
            mode = Mode.RUNNING if settings.autostart else Mode.STOPPED
            state = State(
                mode, settings.bundle, str(settings.policy), str(settings.world_model), origin
            )
            state.save(file)
            return state
        state = State.load(file)
        if state.origin != origin:
            raise StateError(
                f"{file} is of fine-tuning that began with another policy than {settings.policy}: "
                "choose another directory"
            )
        self.get_logger().info(f"goes on: round {state.round}, {state.phase.value}")
        return state

    def _create_services(self) -> None:
        rounds = self._rounds
        for name, act in (
            ("start", rounds.start),
            ("pause", rounds.pause),
            ("stop", rounds.stop),
            ("propose_now", rounds.propose_now),
            ("approve", rounds.approve),
            ("rollback", rounds.roll_back),
        ):
            self.create_service(Trigger, f"~/{name}", self._answering(act))

    def _answering(self, act: Callable[[], tuple[bool, str]]) -> Callable:
        """Answer with an error where an exception would end the executor and hang the client."""

        def answer(request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
            try:
                response.success, response.message = act()
            except Exception as error:  # the edge of the node
                response.success = False
                response.message = f"{type(error).__name__}: {error}"
            self.get_logger().info(response.message)
            return response

        return answer

    # What is due

    def _step(self) -> None:
        if self._ending:
            return
        state = self._rounds.state
        self._recorder.recording = state.mode is Mode.RUNNING
        self._recorder.look()
        self._explore()
        if self._settings.trial_lease:
            self._trial.want(self._rounds.unproven)
        try:
            if not self._rounds.unproven:  # a candidate that acts is waiting for nothing
                self._data.make_room()
            if self._lineage_holds():
                self._rounds.step()
        except (OSError, PwmError) as error:  # a full disk, say; tried again
            self._object(str(error))
        except Exception as error:  # whatever it is, a candidate that acts must stay watched
            self._object(f"{type(error).__name__}: {error}")
        else:
            self._objection = ""

    def _explore(self) -> None:
        """Noise while episodes are gathered, once it is known what the policy earns without.

        Never on another policy than the one that learning goes on from.
        """
        state, node = self._rounds.state, self._policy_node
        gathering = state.mode is Mode.RUNNING and state.phase is Phase.GATHERING
        ours = self._checked and node.acting == state.bundle and not node.stopped
        known = len(state.before) >= self._settings.rounds.before
        self._explorer.want(gathering and ours and known, self._data.episodes)

    def _try_out(self, candidate: str) -> Call:
        """Ask that the policy before act again if this process dies while ``candidate`` acts."""
        bundle, seconds = self._rounds.state.bundle, self._settings.trial_lease
        return self._policy_node.try_out(candidate, bundle, seconds if candidate else 0.0)

    def _lineage_holds(self) -> bool:
        """Whether the running bundle comes from the world model that learning goes on from.

        Asked once, of a policy node that runs the bundle.
        """
        state = self._rounds.state
        if self._checked or self._policy_node.acting != state.bundle:
            return True
        if self._lineage is None:
            self._lineage = self._policy_node.list()
        listed = self._lineage.response()
        if listed is None:
            if self._lineage.lost():
                self._lineage = None
            return False
        self._lineage = None
        found = provenance(listed, state.bundle).get("world_model", "")
        expected = sha256(Path(state.world_model))
        if found != expected:
            self._rounds.halt(
                f"policy {state.bundle} was extracted from world model {found[:12] or 'unknown'}, "
                f"{state.world_model} is {expected[:12]}; name the one it came from"
            )
        self._checked = True
        return True

    def _on_outcome(self, outcome: Outcome) -> None:
        calm = self._explorer.ended()
        noise = "" if calm else " with exploration noise, or some of it"
        earned = f"return {outcome.total:.4g} in {outcome.decisions} decisions{noise}"
        stopped = not math.isfinite(outcome.total)
        found = "judges nothing: the safe action acted in it" if stopped else earned
        self.get_logger().info(f"episode of {outcome.policy}: {found}")
        if calm:
            self._rounds.heard(outcome)

    def _object(self, reason: str) -> None:
        if reason != self._objection:
            self.get_logger().error(reason)
            self._objection = reason
            self._publish_state()

    # What is told

    def _announce(self, verdict: dict[str, Any]) -> None:
        self.get_logger().info(
            f"{verdict['candidate']}: {verdict['verdict']}. {verdict['reason']}".rstrip(". ")
        )
        for check in verdict["checks"]:
            bound = f", {check['relation']} {check['bound']:.4g}" if "bound" in check else ""
            passed = "passed" if check["passed"] else "FAILED"
            self.get_logger().info(f"  {check['check']} {check['figure']:.4g}{bound}: {passed}")
        self._verdicts.publish(String(data=json.dumps(verdict)))

    def _publish_state(self) -> None:
        state = self._rounds.state
        told = f"{state.mode.value}, {state.phase.value}: {state.reason}"
        if told != self._told:
            self._told = told
            self.get_logger().info(told)
        self._states.publish(String(data=json.dumps(state.to_json() | {"error": self._objection})))

    def _tell_gaps(self) -> None:
        """Say why what the robot does is not recorded, and so perhaps no episode counts."""
        gaps = self._recorder.gaps
        if sum(gaps.values()) > self._gaps_told:
            self._gaps_told = sum(gaps.values())
            reasons = "; ".join(f"{reason}: {count}" for reason, count in gaps.items())
            self.get_logger().warning(f"transitions left out so far: {reasons}")

    def _every_second(self) -> None:
        state = self._rounds.state
        if state.phase in LEARNING and self._rounds.learner_pid is not None:
            found = {"round": state.round, "phase": state.phase.value}
            found |= progress(self._rounds.round.directory)
            self._progress.publish(String(data=json.dumps(found)))
        self._publish_diagnostics()

    def _publish_diagnostics(self) -> None:
        state, data = self._rounds.state, self._data
        level, text = self._health()
        values: dict[str, Any] = {
            "mode": state.mode.value,
            "phase": state.phase.value,
            "round": state.round,
            "running": state.bundle,
            "candidate": state.candidate,
            "episodes": data.episodes,
            "training_transitions": data.transitions(TRAINING),
            "held_out_transitions": data.transitions(HELD_OUT),
            "megabytes": f"{data.bytes / 1e6:.2f}",
            "refused_messages": self._recorder.refused,
            "learner_pid": self._rounds.learner_pid or "",
            "candidates_accepted": state.accepted,
            "candidates_refused": state.refused,
            **{f"gaps: {reason}": count for reason, count in self._recorder.gaps.items()},
        }
        name = f"{self.get_fully_qualified_name()}: fine-tuning"
        now = self.get_clock().now().to_msg()
        self._diagnostics.publish(diagnostic_message(now, name, "policy", level, text, values))

    def _health(self) -> tuple[bytes, str]:
        state = self._rounds.state
        if failure := self._objection or self._recorder.failure:
            return DiagnosticStatus.ERROR, failure
        if state.phase is Phase.FAILED:
            return DiagnosticStatus.ERROR, state.reason
        if self._data.full:
            return DiagnosticStatus.WARN, "max_disk is reached: nothing more is recorded"
        return DiagnosticStatus.OK, f"{state.mode.value}, {state.phase.value}: {state.reason}"


def main() -> int:
    """Run the node until it is told to end."""
    stopping = stop_requested()
    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    try:
        node = FinetuneNode()
    except (OSError, ValueError, PwmError, ParameterException) as error:
        print(f"finetune_node: {error}", file=sys.stderr)
        rclpy.shutdown()
        return 2
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    while not stopping.is_set():
        _spin_once(node, executor)
    deadline = time.monotonic() + LAST_SECONDS
    node.close()
    while not node.calm and time.monotonic() < deadline:
        _spin_once(node, executor)
        node.close()
    executor.shutdown()
    node.destroy_node()
    rclpy.shutdown()
    return 0


def _spin_once(node: Node, executor: Executor) -> None:
    """Handle what is due, whatever comes of it: a candidate that acts must stay watched."""
    try:
        executor.spin_once(timeout_sec=0.1)
    except Exception as error:  # the edge of the node
        node.get_logger().error(f"{type(error).__name__}: {error}", throttle_duration_sec=5.0)


if __name__ == "__main__":
    sys.exit(main())
