# SPDX-License-Identifier: Apache-2.0
"""Let the learner make a candidate, judge it by its gate, and export it. No ROS."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

from pwm_export.bundle import Bundle, BundleError
from pwm_finetune.course import Course
from pwm_finetune.learner import Learner, LearnerSettings, log_tail
from pwm_finetune.state import Phase

REFUSED, WRONG_INPUT = 3, 2
"""Exit statuses of `pwm`: a check refused; the input is wrong and will be the next time."""
LEAST_CHANGE = 1e-3
"""Root mean square change of actions, in [-1, 1], below which a candidate is the running policy."""


class Learning:
    """The two phases in which the learner works, and what it leaves."""

    def __init__(self, course: Course, settings: LearnerSettings) -> None:
        self._course, self._settings = course, settings
        self._learner = Learner(settings)

    @property
    def pid(self) -> int | None:
        """Process identifier of the learner while one runs."""
        return self._learner.pid

    def stop(self) -> None:
        """End the learner; it goes on where it was when it is started again."""
        self._learner.stop()

    def learn(self) -> None:
        """`pwm finetune`, then its gate."""
        course = self._course
        status = self._run(course.round.finetune(self._settings))
        if status == REFUSED:
            checks = self._checks()
            course.refuse(_failed_checks(checks) if checks else log_tail(self._log, 1), checks)
        elif status == 0 and not _accepted(course.round.gate):
            self._died(f"it left no passed gate in {course.round.gate}")
        elif status == 0:
            course.state.attempts = 0
            course.enter(Phase.EXPORTING, "the candidate passed its gate")
        elif status is not None:
            self._died(self._ending(status), again=status != WRONG_INPUT)

    def export(self) -> None:
        """`pwm export`, with its check of the exported graph."""
        course = self._course
        status = self._run(course.round.export(self._settings))
        if status == 0:
            self._offer()
        elif status == REFUSED:
            course.refuse(f"export refused it: {log_tail(self._log, 1)}", self._checks())
        elif status is not None:
            self._died(self._ending(status), again=status != WRONG_INPUT)

    def _offer(self) -> None:
        """Read the bundle as the policy node would, and propose it."""
        course, checks = self._course, self._checks()
        try:
            checks.append(_parity(course.round.bundle))
        except BundleError as error:
            self._died(f"its bundle cannot be used: {error}")
            return
        if any(c["check"] == "action change" and c["figure"] < LEAST_CHANGE for c in checks):
            course.refuse("it acts as the running policy: nothing better was found", checks)
            return
        candidate = course.state.candidate = course.bundle_name
        if reason := course.rejected.reason(course.round.policy):
            course.refuse(f"it was rejected before: {reason}", checks)
            return
        course.tell("passed the gate", "", checks)
        course.enter(Phase.PROPOSED, f"{candidate} passed the gate")

    # The learner's process

    @property
    def _log(self) -> Path:
        return self._course.round.directory / "learner.log"

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
        course, state = self._course, self._course.state
        state.attempts += 1
        what = f"the learner died {state.attempts} times while {state.phase.value}; {how}"
        if again and state.attempts <= course.settings.retries:
            course.say(f"{what}; it is started again")
            return
        course.tell("failed", what, [])
        course.enter(Phase.FAILED, what)

    def _checks(self) -> list[dict[str, Any]]:
        """Return what `pwm finetune` found, empty if it left nothing."""
        with suppress(OSError, ValueError, KeyError):
            return list(json.loads(self._course.round.gate.read_bytes())["verdicts"])
        return []


def _parity(file: Path) -> dict[str, Any]:
    """Return the check that `pwm export` made; ``BundleError`` when a bundle cannot be used."""
    parity = Bundle.load(file).metadata.get("parity")
    if not parity:
        raise BundleError(f"{file} does not say that its graph was checked")
    return {
        "check": "export parity",
        "figure": parity["max_abs_error"],
        "meaning": "largest difference of the exported action, actuator units; pwm export writes "
        "no bundle that differs more than its bound",
        "passed": True,
    }


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
