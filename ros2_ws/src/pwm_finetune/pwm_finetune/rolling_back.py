# SPDX-License-Identifier: Apache-2.0
"""Swap back to the policy before, until it acts. No ROS."""

from __future__ import annotations

from pwm_finetune.course import Course

NOT_YET = "; the policy before does not act yet: "
NOT_LOADED = ("unknown policy", "was refused")
"""What the policy node answers to a swap to a policy that it does not hold."""


class RollingBack:
    """The phase after a candidate was taken back."""

    def __init__(self, course: Course) -> None:
        self._course = course

    def step(self) -> None:
        """Ask for the swap back; end the round once another policy than the candidate acts."""
        course, state, takeover = self._course, self._course.state, self._course.takeover
        why = state.reason.partition(NOT_YET)[0]
        acting = course.policy_node.acting
        if acting and acting != state.candidate:
            takeover.drop()
            course.end_round(why)
            return
        if takeover.swapping:
            return
        if not takeover.asked:  # what the policy node holds, whatever became of the file
            takeover.swap(state.bundle, 0.0)
        swaps = takeover.swaps
        refusal = takeover.follow(state.bundle, 0.0)
        if refusal is None:
            return
        if swaps and any(words in refusal.message for words in NOT_LOADED):
            takeover.load(state.bundle)
        else:
            course.say(f"{why}{NOT_YET}{refusal.message}")
