# SPDX-License-Identifier: Apache-2.0
"""Watch what a candidate earns on the robot, and judge it. No ROS."""

from __future__ import annotations

import time

from pwm_core.finetuning.trial import better, judge
from pwm_finetune.course import Course
from pwm_finetune.state import Mode


class Watching:
    """The phase in which a candidate acts and may still be taken back."""

    def __init__(self, course: Course) -> None:
        self._course = course

    def step(self) -> None:
        """Take the candidate back when something speaks against it; judge it when it has acted."""
        course, state, settings = self._course, self._course.state, self._course.settings
        acting = course.policy_node.acting
        if course.policy_node.stopped:
            course.reject("the emergency stop was latched while it acted")
        elif acting == state.bundle:  # whoever did that, it says nothing certain of the candidate
            course.take_back(
                "the policy before acts again: it was swapped in, the policy node started anew, or "
                "nobody watched for a while"
            )
        elif acting and acting != state.candidate:
            state.mode = Mode.STOPPED
            course.take_back(f"somebody swapped in {acting}; stopped")
        elif len(state.watched) >= settings.watch:
            self._judge()
        elif time.monotonic() - course.entered > settings.watch_seconds:
            course.take_back(f"it could not be judged in {settings.watch_seconds:.4g} s")

    def _judge(self) -> None:
        course, state = self._course, self._course.state
        judgement = judge(state.watched, state.before)
        found = f"{judgement.mean:.4g} over {len(state.watched)} episodes"
        bound = f"{judgement.bound:.4g}, the least that may stay after the policy before"
        if not judgement.passed:
            reason = f"its mean return, {found}, is below {bound}"
            course.reject(reason, trial=judgement.to_json())
            return
        course.tell("stays", f"mean return {found}, at least {bound}", [], judgement.to_json())
        state.history.append(
            {"bundle": state.bundle, "policy": state.policy, "world_model": state.world_model}
        )
        files = course.round
        state.bundle, state.policy = state.candidate, str(files.policy)
        state.world_model = str(files.world_model)
        state.accepted += 1
        before = better(state.watched[-course.settings.before :], state.before)
        course.end_round(f"{state.candidate} stays: mean return {found}", before)
