# SPDX-License-Identifier: Apache-2.0
"""Gather episodes of the running policy until there are enough to begin a round. No ROS."""

from __future__ import annotations

import shutil

from pwm_core.errors import PwmError
from pwm_finetune.course import Course
from pwm_finetune.data import HELD_OUT, TRAINING, OnlineData
from pwm_finetune.state import Phase

WAITS = "waits"


class Gathering:
    """The phase between two rounds."""

    def __init__(self, course: Course, data: OnlineData) -> None:
        self._course, self._data = course, data
        state = course.state
        state.trained_on = min(state.trained_on, data.episodes)  # somebody may have deleted some

    def step(self) -> None:
        """Begin a round once there are enough new episodes of the running policy."""
        course, state = self._course, self._course.state
        acting, due = course.policy_node.acting, self._due()
        waits = self.lack() if due else ""
        if acting and acting != state.bundle:
            waits = f"{acting} acts, fine-tuning goes on from {state.bundle}"
        if waits:
            course.say(f"{WAITS}: {waits}")
        elif due:
            self.begin(due)
        elif state.reason.startswith(WAITS):
            course.say(f"{state.bundle} acts")

    def _due(self) -> str:
        """Return why a round is due; empty while it is not."""
        new = self._data.episodes - self._course.state.trained_on
        return f"{new} new episodes" if new >= self._course.settings.episodes else ""

    def lack(self) -> str:
        """Return what a round lacks; empty if it can begin."""
        for name in (TRAINING, HELD_OUT):
            if not self._data.transitions(name):
                return f"no {name.replace('_', '-')} episode has been recorded yet"
        return self._data.lack_of_windows()

    def begin(self, why: str) -> str:
        """Begin a round on a copy of the episodes so far; ``OSError`` when there is no room."""
        course, state = self._course, self._course.state
        course.round.tidy()  # of the last round, if that was cut short
        last, state.round = state.round, state.round + 1
        while (course.round.directory / "run").exists() or course.put(course.bundle_name).exists():
            state.round += 1  # of an earlier run directory, say, whose candidate still acts
        try:
            state.held_out = self._data.snapshot(course.round.data)
        except (OSError, PwmError):
            shutil.rmtree(course.round.data, ignore_errors=True)
            state.round = last
            raise
        state.trained_on = self._data.episodes
        state.attempts, state.approved, state.candidate, state.watched = 0, False, "", []
        return course.enter(Phase.LEARNING, f"round {state.round} begins: {why}")
