# SPDX-License-Identifier: Apache-2.0
"""Round after round: gather, learn, export, propose, watch; and back when it earns less. No ROS.

:meth:`Rounds.step` is called a few times a second and never waits. Whatever is on its way, the
state file says enough to go on from there.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from pwm_finetune.course import Course, RoundSettings
from pwm_finetune.data import OnlineData
from pwm_finetune.gathering import Gathering
from pwm_finetune.learner import LearnerSettings, Round
from pwm_finetune.learning import Learning
from pwm_finetune.proposing import Proposing
from pwm_finetune.rolling_back import RollingBack
from pwm_finetune.state import Mode, Phase, State
from pwm_finetune.takeover import PolicyNode
from pwm_finetune.transitions import Outcome
from pwm_finetune.watching import Watching

TAKING_OVER = "a candidate is being swapped in: ask again once it is watched"


class Rounds:
    """The rounds of one run directory: whose turn it is, and what the operator asks for.

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
        self._course = course = Course(settings, state, policy_node, announce, changed)
        self._gathering = Gathering(course, data)
        self._learning = Learning(course, learner_settings)
        self._proposing = Proposing(course)
        self._phases: dict[Phase, Callable[[], None]] = {
            Phase.GATHERING: self._gathering.step,
            Phase.LEARNING: self._learning.learn,
            Phase.EXPORTING: self._learning.export,
            Phase.PROPOSED: self._proposing.step,
            Phase.WATCHING: Watching(course).step,
            Phase.ROLLING_BACK: RollingBack(course).step,
            Phase.FAILED: lambda: None,
        }

    @property
    def round(self) -> Round:
        """The files of the present round."""
        return self._course.round

    @property
    def learner_pid(self) -> int | None:
        """Process identifier of the learner while one runs."""
        return self._learning.pid

    @property
    def unproven(self) -> str:
        """Name of a candidate that acts, or may any moment, and is not found good; else empty."""
        acts = self.state.phase in (Phase.WATCHING, Phase.ROLLING_BACK)
        return self.state.candidate if acts or self._proposing.taking_over else ""

    def step(self) -> None:
        """Do what is due."""
        state = self.state
        if state.mode is not Mode.RUNNING and not self.unproven:
            return  # a candidate that acts is watched, and taken back, whatever the mode
        self._phases[state.phase]()

    def close(self) -> None:
        """End the learner; the next process goes on from there."""
        self._learning.stop()

    def heard(self, outcome: Outcome) -> None:
        """Take the return of a whole episode."""
        state, stopped = self.state, not math.isfinite(outcome.total)
        if state.phase is Phase.WATCHING and outcome.policy == state.candidate:
            if stopped:
                with suppress(OSError):  # what could not be saved does not keep it acting
                    self._course.take_back("the safe action acted in its trial")
                return
            state.watched.append(outcome.total)
        elif stopped:
            return
        elif outcome.policy == state.bundle and state.phase is not Phase.WATCHING:
            state.before = [*state.before, outcome.total][-self._course.settings.before :]
        else:
            return
        with suppress(OSError):  # saved with the next change; until then it is known here
            self._course.save()

    # What an operator asks for; each returns whether it was done, and words

    def start(self) -> tuple[bool, str]:
        """Go on, or begin; a failed learner is tried again with the data of now."""
        state = self.state
        state.mode = Mode.RUNNING
        if state.phase is Phase.FAILED:
            state.before = []  # it may have failed long ago
            return True, self._course.enter(Phase.GATHERING, "started again after a failure")
        return True, self._course.say("started")

    def pause(self) -> tuple[bool, str]:
        """Record and learn nothing until `start`; a candidate that acts is watched on."""
        self._learning.stop()
        self.state.mode = Mode.PAUSED
        return True, self._course.say("paused by the operator")

    def stop(self) -> tuple[bool, str]:
        """End the round; a candidate that has not shown itself yet is taken back."""
        if self._proposing.taking_over:
            return False, TAKING_OVER
        self._learning.stop()
        state = self.state
        state.mode = Mode.STOPPED
        if state.phase is Phase.WATCHING:
            return True, self._course.take_back("stopped by the operator before it was judged")
        if state.phase is Phase.ROLLING_BACK:
            return True, self._course.say(state.reason)
        self._course.takeover.drop()
        return True, self._course.end_round("stopped by the operator")

    def halt(self, reason: str) -> None:
        """Stop before a first round: what was given does not belong together."""
        self.state.mode = Mode.STOPPED
        self._course.say(f"stopped: {reason}")

    def propose_now(self) -> tuple[bool, str]:
        """Begin a round with the episodes there are."""
        state = self.state
        if state.mode is not Mode.RUNNING or state.phase is not Phase.GATHERING:
            return False, f"no round can begin: {state.mode.value}, {state.phase.value}"
        lack = self._gathering.lack()
        return (False, lack) if lack else (True, self._gathering.begin("asked for by the operator"))

    def approve(self) -> tuple[bool, str]:
        """Let the candidate that waits be swapped in."""
        state = self.state
        if state.phase is not Phase.PROPOSED:
            return False, f"no candidate waits for approval: {state.phase.value}"
        state.approved = True
        return True, self._course.say(f"{state.candidate} approved by the operator")

    def roll_back(self) -> tuple[bool, str]:
        """Go back to the policy before; a candidate that waits is refused."""
        state = self.state
        if self._proposing.taking_over:
            return False, TAKING_OVER
        if state.phase is Phase.PROPOSED:
            return True, self._course.refuse("refused by the operator", [])
        if state.phase is Phase.WATCHING:
            return True, self._course.reject("rolled back by the operator")
        if state.phase is Phase.ROLLING_BACK:
            return False, "on the way back already"
        if not state.history:
            return False, f"there is no policy before {state.bundle}"
        self._learning.stop()
        state.candidate = state.bundle
        candidate = Path(state.policy)
        before = state.history.pop()
        state.bundle = before["bundle"]
        state.policy, state.world_model = before["policy"], before["world_model"]
        return True, self._course.reject("rolled back by the operator", candidate)
