# SPDX-License-Identifier: Apache-2.0
"""Round after round: gather, learn, export, propose, watch; and back when it earns less. No ROS.

:meth:`Rounds.step` is called a few times a second and never waits. Whatever is on its way, the
state file says enough to go on from there.
"""

from __future__ import annotations

import json
import math
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from pwm_core.errors import PwmError
from pwm_core.files import write_atomically
from pwm_core.finetuning.trial import judge
from pwm_export.bundle import Bundle, BundleError
from pwm_finetune.data import HELD_OUT, TRAINING, OnlineData
from pwm_finetune.learner import Basis, Learner, LearnerSettings, Round, log_tail
from pwm_finetune.rejected import Rejected
from pwm_finetune.state import Mode, Phase, State
from pwm_finetune.transitions import Outcome

REFUSED, WRONG_INPUT = 3, 2
"""Exit statuses of `pwm`: a check refused; the input is wrong and will be the next time."""
LEAST_CHANGE = 1e-3
"""Root mean square change of actions, in [-1, 1], below which a candidate is the running policy."""
LEAST_BEFORE = 2
"""Returns of the running policy that a judgement needs."""
WAITS = "waits"
NOT_YET = "; the policy before does not act yet: "
NOT_LOADED = ("unknown policy", "was refused")
"""What the policy node answers to a swap to a policy that it does not hold."""
TAKING_OVER = "a candidate is being swapped in: ask again once it is watched"
STATUS_SECONDS = 20.0
"""How long the policy node's status may take to tell of a swap that it has answered."""


class Answer(Protocol):
    """What came back of a request to the policy node."""

    @property
    def success(self) -> bool: ...
    @property
    def message(self) -> str: ...
    @property
    def answered(self) -> bool: ...


class Request(Protocol):
    """A request to the policy node on its way."""

    def answer(self) -> Answer | None:
        """Return the answer, None while it may still come."""
        ...


class PolicyNode(Protocol):
    """The policy node, as far as fine-tuning deals with it."""

    @property
    def acting(self) -> str:
        """Name of the policy that acts; empty while none does."""
        ...

    @property
    def stopped(self) -> bool:
        """Whether the emergency stop is latched."""
        ...

    def load(self, name: str) -> Request:
        """Ask to read a bundle."""
        ...

    def swap(self, name: str, blend_seconds: float) -> Request:
        """Ask to let a loaded policy act."""
        ...


@dataclass(frozen=True)
class RoundSettings:
    """When a round begins and what a candidate has to show."""

    directory: Path
    """Run directory."""
    policy_dir: Path
    """Directory that the policy node reads bundles from."""
    offline: Path
    """Dataset that the world model was trained on."""
    task: str
    episodes: int
    """New episodes that begin a round."""
    watch: int
    """Whole episodes of a candidate after which it is judged."""
    watch_seconds: float
    """Seconds after which a candidate that could not be judged is taken back."""
    before: int
    """Last whole episodes of the running policy that it is held against."""
    auto_approve: bool
    """Whether a candidate that passed the gate is swapped in without asking."""
    retries: int
    """How often a learner that died is started again."""
    blend_seconds: float
    """Seconds over which a candidate takes over."""


class Rounds:
    """The rounds of one run directory.

    ``announce`` hears of every verdict; ``changed`` of every change of the state, which is on disk
    by then.
    """

    def __init__(
        self,
        settings: RoundSettings,
        learner_settings: LearnerSettings,
        state: State,
        data: OnlineData,
        policy_node: PolicyNode,
        announce: Callable[[dict[str, Any]], None],
        changed: Callable[[], None],
    ) -> None:
        self.state = state
        self._settings, self._learner_settings = settings, learner_settings
        self._data, self._policy_node = data, policy_node
        self._announce, self._changed = announce, changed
        self._learner = Learner(learner_settings)
        self._rejected = Rejected(settings.directory / "rejected.jsonl")
        self._request: tuple[str, Request] | None = None
        self._swapped = -STATUS_SECONDS
        self._entered = time.monotonic()

    @property
    def round(self) -> Round:
        """The files of the present round."""
        state, settings = self.state, self._settings
        basis = Basis(state.bundle, Path(state.policy), Path(state.world_model))
        directory = settings.directory / f"round_{state.round:04}"
        return Round(directory, basis, settings.offline, settings.task, state.held_out)

    @property
    def _bundle_name(self) -> str:
        """Name of this round's candidate at the policy node."""
        return f"{self._settings.task}_round_{self.state.round:04}"

    def _put(self, candidate: str) -> Path:
        """Return where the policy node reads a candidate from."""
        return self._settings.policy_dir / f"{candidate}.onnx"

    @property
    def learner_pid(self) -> int | None:
        """Process identifier of the learner while one runs."""
        return self._learner.pid

    def step(self) -> None:
        """Do what is due."""
        state = self.state
        acts = state.phase in (Phase.WATCHING, Phase.ROLLING_BACK) or self._taking_over
        if state.mode is not Mode.RUNNING and not acts:
            return  # a candidate that acts is watched, and taken back, whatever the mode
        {
            Phase.GATHERING: self._gather,
            Phase.LEARNING: self._learn,
            Phase.EXPORTING: self._export,
            Phase.PROPOSED: self._propose,
            Phase.WATCHING: self._watch,
            Phase.ROLLING_BACK: self._roll_back,
            Phase.FAILED: lambda: None,
        }[state.phase]()

    def close(self) -> None:
        """End the learner; the next process goes on from there."""
        self._learner.stop()

    def heard(self, outcome: Outcome) -> None:
        """Take the return of a whole episode."""
        state, stopped = self.state, not math.isfinite(outcome.total)
        if state.phase is Phase.WATCHING and outcome.policy == state.candidate:
            if stopped:
                with suppress(OSError):  # what could not be saved does not keep it acting
                    self._reject("the safe action acted in its trial")
                return
            state.watched.append(outcome.total)
        elif stopped:
            return
        elif outcome.policy == state.bundle and state.phase is not Phase.WATCHING:
            state.before = [*state.before, outcome.total][-self._settings.before :]
        else:
            return
        with suppress(OSError):  # saved with the next change; until then it is known here
            self._save()

    # What an operator asks for; each returns whether it was done, and words

    def start(self) -> tuple[bool, str]:
        """Go on, or begin; a failed learner is tried again with the data of now."""
        state = self.state
        state.mode = Mode.RUNNING
        if state.phase is Phase.FAILED:
            return True, self._enter(Phase.GATHERING, "started again after a failure")
        return True, self._say("started")

    def pause(self) -> tuple[bool, str]:
        """Record and learn nothing until `start`; a candidate that acts is watched on."""
        self._learner.stop()
        self.state.mode = Mode.PAUSED
        return True, self._say("paused by the operator")

    def stop(self) -> tuple[bool, str]:
        """End the round; a candidate that has not shown itself yet is taken back."""
        if self._taking_over:
            return False, TAKING_OVER
        self._learner.stop()
        state = self.state
        state.mode = Mode.STOPPED
        if state.phase is Phase.WATCHING:
            return True, self._reject("stopped by the operator before it was judged")
        if state.phase is Phase.ROLLING_BACK:
            return True, self._say(state.reason)
        self._request = None
        return True, self._end_round("stopped by the operator")

    def halt(self, reason: str) -> None:
        """Stop before a first round: what was given does not belong together."""
        self.state.mode = Mode.STOPPED
        self._say(f"stopped: {reason}")

    def propose_now(self) -> tuple[bool, str]:
        """Begin a round with the episodes there are."""
        state = self.state
        if state.mode is not Mode.RUNNING or state.phase is not Phase.GATHERING:
            return False, f"no round can begin: {state.mode.value}, {state.phase.value}"
        lack = self._lack()
        return (False, lack) if lack else (True, self._begin("asked for by the operator"))

    def approve(self) -> tuple[bool, str]:
        """Let the candidate that waits be swapped in."""
        state = self.state
        if state.phase is not Phase.PROPOSED:
            return False, f"no candidate waits for approval: {state.phase.value}"
        state.approved = True
        return True, self._say(f"{state.candidate} approved by the operator")

    def roll_back(self) -> tuple[bool, str]:
        """Go back to the policy before; a candidate that waits is refused."""
        state = self.state
        if self._taking_over:
            return False, TAKING_OVER
        if state.phase is Phase.PROPOSED:
            return True, self._refuse("refused by the operator", [])
        if state.phase is Phase.WATCHING:
            return True, self._reject("rolled back by the operator")
        if state.phase is Phase.ROLLING_BACK:
            return False, "on the way back already"
        if not state.history:
            return False, f"there is no policy before {state.bundle}"
        self._learner.stop()
        state.candidate = state.bundle
        candidate = Path(state.policy)
        before = state.history.pop()
        state.bundle = before["bundle"]
        state.policy, state.world_model = before["policy"], before["world_model"]
        state.before = []
        return True, self._reject("rolled back by the operator", candidate)

    # Phases

    def _gather(self) -> None:
        acting = self._policy_node.acting
        if acting and acting != self.state.bundle:
            self._say(f"{WAITS}: {acting} acts, fine-tuning goes on from {self.state.bundle}")
            return
        if self.state.reason.startswith(WAITS):
            self._say(f"{self.state.bundle} acts")
        new = self._data.episodes - self.state.trained_on
        if new >= self._settings.episodes and not self._lack():
            self._begin(f"{new} new episodes")

    def _lack(self) -> str:
        """Return what a round lacks; empty if it can begin."""
        for name in (TRAINING, HELD_OUT):
            if not self._data.transitions(name):
                return f"no {name.replace('_', '-')} episode has been recorded yet"
        return ""

    def _begin(self, why: str) -> str:
        state = self.state
        last, state.round = state.round, state.round + 1
        while (self.round.directory / "run").exists() or self._put(self._bundle_name).exists():
            state.round += 1  # of an earlier run directory, say, whose candidate still acts
        try:
            state.held_out = self._data.snapshot(self.round.data)
        except (OSError, PwmError):
            shutil.rmtree(self.round.data, ignore_errors=True)
            state.round = last
            raise
        state.trained_on = self._data.episodes
        state.attempts, state.approved, state.candidate, state.watched = 0, False, "", []
        return self._enter(Phase.LEARNING, f"round {state.round} begins: {why}")

    def _learn(self) -> None:
        status = self._run(self.round.finetune(self._learner_settings))
        if status == REFUSED:
            self._refuse(_failed_checks(self._checks()), self._checks())
        elif status == 0 and not _accepted(self.round.gate):
            self._died(f"it left no passed gate in {self.round.gate}")
        elif status == 0:
            self.state.attempts = 0
            self._enter(Phase.EXPORTING, "the candidate passed its gate")
        elif status is not None:
            self._died(self._ending(status), again=status != WRONG_INPUT)

    def _export(self) -> None:
        status = self._run(self.round.export(self._learner_settings))
        if status == 0:
            self._offer()
        elif status == REFUSED:
            self._refuse(f"export refused it: {log_tail(self._log, 1)}", self._checks())
        elif status is not None:
            self._died(self._ending(status), again=status != WRONG_INPUT)

    def _offer(self) -> None:
        """Read the bundle as the policy node would, and propose it."""
        state, checks = self.state, self._checks()
        try:
            bundle = Bundle.load(self.round.bundle)
            parity = bundle.metadata.get("parity")
            if not parity:
                raise BundleError(f"{self.round.bundle} does not say that its graph was checked")
        except BundleError as error:
            self._died(f"its bundle cannot be used: {error}")
            return
        checks.append(
            {
                "check": "export parity",
                "figure": parity["max_abs_error"],
                "meaning": "largest difference of the exported action, actuator units; pwm export "
                "writes no bundle that differs more than its bound",
                "passed": True,
            }
        )
        if any(c["check"] == "action change" and c["figure"] < LEAST_CHANGE for c in checks):
            self._refuse("it acts as the running policy: nothing better was found", checks)
            return
        state.candidate = self._bundle_name
        if reason := self._rejected.reason(self.round.policy):
            self._refuse(f"it was rejected before: {reason}", checks)
            return
        self._tell("passed the gate", "", checks)
        self._enter(Phase.PROPOSED, f"{state.candidate} passed the gate")

    def _propose(self) -> None:
        state, settings = self.state, self._settings
        if self._policy_node.acting == state.candidate:  # also after a restart in between
            self._request = None
            state.watched = []
            self._enter(Phase.WATCHING, f"{state.candidate} acts")
            return
        if self._swapping:
            return
        if not (settings.auto_approve or state.approved):
            self._say(f"{state.candidate} waits for approval")
            return
        obstacle = self._obstacle()
        if obstacle:
            self._say(f"{state.candidate} waits: {obstacle}")
            return
        if self._request is None:
            content = self.round.bundle.read_bytes()
            write_atomically(self._put(state.candidate), content)
            self._request = ("load", self._policy_node.load(state.candidate))
        answer = self._let_act(state.candidate, settings.blend_seconds)
        if answer is not None and answer.answered:
            self._refuse(f"the policy node refused it: {answer.message}", [])
        elif answer is not None:
            self._say(f"{state.candidate} waits: {answer.message}")

    def _obstacle(self) -> str:
        """Return why nothing is swapped in now; empty if nothing speaks against it."""
        node, state = self._policy_node, self.state
        if node.stopped:
            return "the emergency stop is latched"
        if node.acting != state.bundle:
            return f"{node.acting or 'no policy'} acts instead of {state.bundle}"
        if len(state.before) < LEAST_BEFORE:
            return f"{len(state.before)} returns of {state.bundle} are known, {LEAST_BEFORE} needed"
        return ""

    def _let_act(self, name: str, blend_seconds: float) -> Answer | None:
        """Follow a request to load a policy by one to swap it in; return what went wrong.

        By name, never "the one before": an answer that was lost is asked for again.
        """
        assert self._request is not None
        what, request = self._request
        answer = request.answer()
        if answer is None:
            return None
        self._request = None
        if answer.success and what == "load":
            self._request = ("swap", self._policy_node.swap(name, blend_seconds))
        elif answer.success:
            self._swapped = time.monotonic()
        return None if answer.success else answer

    @property
    def _taking_over(self) -> bool:
        """Whether a candidate acts, or may any moment, that is not watched yet."""
        if self.state.phase is not Phase.PROPOSED:
            return False
        acts = self._policy_node.acting == self.state.candidate
        return acts or self._swapping or self._request is not None

    @property
    def _swapping(self) -> bool:
        """Whether a swap was answered of which the status may not have told yet."""
        return time.monotonic() - self._swapped < STATUS_SECONDS

    def _watch(self) -> None:
        state, node = self.state, self._policy_node
        if node.stopped:
            self._reject("the emergency stop was latched while it acted")
        elif node.acting == state.bundle:
            self._reject("somebody let the policy before act again")
        elif node.acting and node.acting != state.candidate:
            state.mode = Mode.STOPPED
            self._reject(f"somebody swapped in {node.acting}; stopped")
        elif len(state.watched) >= self._settings.watch:
            self._judge()
        elif time.monotonic() - self._entered > self._settings.watch_seconds:
            self._reject(f"it could not be judged in {self._settings.watch_seconds:.4g} s")

    def _judge(self) -> None:
        state = self.state
        judgement = judge(state.watched, state.before)
        found = f"{judgement.mean:.4g} over {len(state.watched)} episodes"
        bound = f"{judgement.bound:.4g}, the least of a policy as good as the one before"
        if not judgement.passed:
            self._reject(f"its mean return, {found}, is below {bound}", trial=judgement.to_json())
            return
        self._tell("stays", f"mean return {found}, at least {bound}", [], judgement.to_json())
        state.history.append(
            {"bundle": state.bundle, "policy": state.policy, "world_model": state.world_model}
        )
        policy, world_model = str(self.round.policy), str(self.round.world_model)
        state.bundle, state.policy, state.world_model = state.candidate, policy, world_model
        state.before = state.watched[-self._settings.before :]
        state.accepted += 1
        self._end_round(f"{state.candidate} stays: mean return {found}")

    def _roll_back(self) -> None:
        state, node = self.state, self._policy_node
        if node.acting and node.acting != state.candidate:
            self._request = None
            self._end_round(state.reason.partition(NOT_YET)[0])
        elif not self._swapping:
            if self._request is None:  # what the policy node holds, whatever became of the file
                self._request = ("swap", node.swap(state.bundle, 0.0))
            what, _ = self._request
            answer = self._let_act(state.bundle, 0.0)
            if answer is None:
                return
            if what == "swap" and any(words in answer.message for words in NOT_LOADED):
                self._request = ("load", node.load(state.bundle))
            else:
                why = state.reason.partition(NOT_YET)[0]
                self._say(f"{why}{NOT_YET}{answer.message}")

    # Ends of a round

    def _refuse(self, reason: str, checks: list[dict[str, Any]]) -> str:
        """End the round with a candidate that never acted."""
        self._request = None
        self._rejected.add(self._name, self.round.policy, reason)
        self.state.refused += 1
        self._tell("refused", reason, checks)
        return self._end_round(f"{self._name} refused: {reason}")

    def _reject(
        self, reason: str, policy: Path | None = None, trial: dict[str, Any] | None = None
    ) -> str:
        """Take back a candidate that acts; a full disk does not keep it acting."""
        self._request, self._swapped = None, -STATUS_SECONDS
        self.state.phase = Phase.ROLLING_BACK
        self.state.refused += 1
        with suppress(OSError):
            self._rejected.add(self._name, policy or self.round.policy, reason)
        self._tell("rolled back", reason, [], trial)
        return self._enter(Phase.ROLLING_BACK, f"{self._name} rolled back: {reason}")

    def _end_round(self, reason: str) -> str:
        state = self.state
        shutil.rmtree(self.round.data, ignore_errors=True)
        if state.candidate and state.candidate != state.bundle:
            with suppress(OSError):  # a policy node that starts anew may pick any bundle there
                self._put(state.candidate).unlink(missing_ok=True)
        state.candidate, state.approved, state.watched = "", False, []
        return self._enter(Phase.GATHERING, reason)

    # The learner

    @property
    def _log(self) -> Path:
        return self.round.directory / "learner.log"

    def _run(self, arguments: list[str]) -> int | None:
        """Start the learner if it does not run; return its exit status once it has ended."""
        if self._learner.pid is None:
            try:
                self._learner.start(arguments, self._log)
            except OSError as error:
                self._died(f"it cannot be started: {error}")
            return None
        return self._learner.poll()

    def _ending(self, status: int) -> str:
        return f"it ended with status {status}: {log_tail(self._log)}"

    def _died(self, how: str, again: bool = True) -> None:
        state = self.state
        state.attempts += 1
        what = f"the learner died {state.attempts} times while {state.phase.value}; {how}"
        if again and state.attempts <= self._settings.retries:
            self._say(f"{what}; it is started again")
            return
        self._tell("failed", what, [])
        self._enter(Phase.FAILED, what)

    def _checks(self) -> list[dict[str, Any]]:
        """Return what `pwm finetune` found, empty if it left nothing."""
        with suppress(OSError, ValueError, KeyError):
            return list(json.loads(self.round.gate.read_bytes())["verdicts"])
        return []

    # Words

    @property
    def _name(self) -> str:
        return self.state.candidate or f"the candidate of round {self.state.round}"

    def _tell(
        self,
        verdict: str,
        reason: str,
        checks: list[dict[str, Any]],
        trial: dict[str, Any] | None = None,
    ) -> None:
        """Make a verdict known: in the run directory if it can be written to, and to ``announce``.

        The state that is saved after it tells of a full disk.
        """
        record = {
            "round": self.state.round,
            "candidate": self._name,
            "running": self.state.bundle,
            "verdict": verdict,
            "reason": reason,
            "checks": checks,
            "trial": trial,
        }
        with suppress(OSError), open(self._settings.directory / "verdicts.jsonl", "a") as file:
            file.write(json.dumps(record) + "\n")
        self._announce(record)

    def _enter(self, phase: Phase, reason: str) -> str:
        self.state.phase, self._entered = phase, time.monotonic()
        return self._say(reason, always=True)

    def _say(self, reason: str, always: bool = False) -> str:
        """Note why it is as it is; the same words again change nothing."""
        if always or reason != self.state.reason:
            self.state.reason = reason
            self._save()
        return reason

    def _save(self) -> None:
        self.state.save(self._settings.directory / "state.json")
        self._changed()


def _accepted(gate: Path) -> bool:
    """Whether a gate's file is there and says so; exit status 0 alone proves nothing."""
    try:
        return json.loads(gate.read_bytes())["accepted"] is True
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _failed_checks(checks: list[dict[str, Any]]) -> str:
    failed = [
        f"{check['check']} {check['figure']:.4g}, expected {check['relation']} {check['bound']:.4g}"
        for check in checks
        if not check["passed"]
    ]
    return f"the gate refused it: {'; '.join(failed) or 'see its log'}"
