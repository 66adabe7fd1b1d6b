# SPDX-License-Identifier: Apache-2.0
"""Let a candidate that passed its gate act, as soon as nothing speaks against it. No ROS."""

from __future__ import annotations

import filecmp

from pwm_core.files import write_atomically
from pwm_finetune.course import Course
from pwm_finetune.state import Phase

LEAST_BEFORE = 2
"""Returns of the running policy that a judgement needs."""


class Proposing:
    """The phase in which a candidate waits, and takes over."""

    def __init__(self, course: Course) -> None:
        self._course = course

    def step(self) -> None:
        """Ask for the swap, or say what is waited for; watch the candidate once it acts."""
        course, state, settings = self._course, self._course.state, self._course.settings
        takeover = course.takeover
        if course.policy_node.acting == state.candidate:  # also after a restart in between
            takeover.drop()
            state.watched = []
            course.enter(Phase.WATCHING, f"{state.candidate} acts")
            return
        if takeover.swapping:
            return
        if not (settings.auto_approve or state.approved):
            course.say(f"{state.candidate} waits for approval")
            return
        if obstacle := self._obstacle():
            course.say(f"{state.candidate} waits: {obstacle}")
            return
        if not takeover.asked:
            self._put()
            takeover.load(state.candidate)
        refusal = takeover.follow(state.candidate, settings.blend_seconds)
        if refusal is not None and refusal.answered:
            course.refuse(f"the policy node refused it: {refusal.message}", [])
        elif refusal is not None:
            course.say(f"{state.candidate} waits: {refusal.message}")

    def _put(self) -> None:
        """Put the candidate where the policy node reads it, unless it is there already."""
        made, there = self._course.round.bundle, self._course.put(self._course.state.candidate)
        if not there.is_file() or not filecmp.cmp(made, there, shallow=False):
            write_atomically(there, made.read_bytes())

    def _obstacle(self) -> str:
        """Return why nothing is swapped in now; empty if nothing speaks against it."""
        node, state = self._course.policy_node, self._course.state
        if node.stopped:
            return "the emergency stop is latched"
        if node.acting != state.bundle:
            return f"{node.acting or 'no policy'} acts instead of {state.bundle}"
        if len(state.before) < LEAST_BEFORE:
            return f"{len(state.before)} returns of {state.bundle} are known, {LEAST_BEFORE} needed"
        return ""

    @property
    def taking_over(self) -> bool:
        """Whether a candidate acts, or may any moment, that is not watched yet."""
        course = self._course
        if course.state.phase is not Phase.PROPOSED:
            return False
        acts = course.policy_node.acting == course.state.candidate
        return acts or course.takeover.swapping or course.takeover.asked
