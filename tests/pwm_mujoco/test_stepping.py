# SPDX-License-Identifier: Apache-2.0
"""The physics thread: which commands act for how long."""

from __future__ import annotations

import dataclasses
import threading

import numpy as np
import pytest

from pwm_core.tasks import get_task
from pwm_mujoco.stepping import Stepping, SteppingSettings
from pwm_mujoco.world import World

STEP = get_task("cartpole-balance").control_step
SETTINGS = SteppingSettings("realtime", 100.0, auto_reset=False, time_limit=False)


class Commander:
    """Answers the first observations with a command; the physics ends some decisions later."""

    def __init__(self, settings: SteppingSettings, answers: int, decisions: int) -> None:
        self.world = World("cartpole-balance", seed=0)
        self.commands: list[float] = []
        """The command that acted for each decision, as its end was heard."""
        self._answers, self._decisions = answers, decisions
        self._settings, self._done = settings, threading.Event()

    def run(self) -> list[float]:
        stepping = Stepping(self.world, self, self._settings)
        stepping.start()
        assert self._done.wait(timeout=60)
        stepping.stop()
        return self.commands

    def decided(self) -> None:
        if self.world.episode_step:
            self.commands.append(self.world.command["slide"])
        if self.world.episode_step < self._answers:
            self.world.offer(["slide"], [0.5], self.world.step)
        if self.world.episode_step == self._decisions:
            self._done.set()
            self.world.fault = "the end of the test"

    stepped = waiting = diverged = lambda self: None


def test_a_command_that_nothing_renews_gives_way_to_the_safe_action() -> None:
    settings = dataclasses.replace(SETTINGS, command_timeout=4 * STEP)
    commander = Commander(settings, answers=3, decisions=12)
    assert commander.run() == [0.5] * (2 + 4) + [0.0] * 6
    assert (commander.world.withdrawn, commander.world.withdrawals) == (True, 1)


def test_a_new_command_acts_again_and_an_episode_begins_afresh() -> None:
    world = World("cartpole-balance", seed=0)
    for _ in range(2):
        world.withdraw(STEP)
        assert not world.withdrawn, "nothing was commanded"
        assert world.offer(["slide"], [0.5], world.step)
        world.decide()
        world.withdraw(STEP)
        assert (world.withdrawn, world.command["slide"]) == (True, 0.0)
        assert world.offer(["slide"], [0.5], world.step)
        assert (world.withdrawn, world.command["slide"]) == (False, 0.5)
        world.reset()
    assert world.withdrawals == 2


@pytest.mark.parametrize("timeout", [0.0, 1.0])
def test_commands_within_the_timeout_or_without_one_change_no_bit(timeout: float) -> None:
    settings = dataclasses.replace(SETTINGS, command_timeout=timeout)
    commander = Commander(settings, answers=2, decisions=20)
    assert commander.run() == [0.5] * 20
    world = World("cartpole-balance", seed=0)
    world.offer(["slide"], [0.5], world.step)
    for _ in range(20):
        world.decide()
    np.testing.assert_array_equal(commander.world.observation, world.observation)


def test_lockstep_waits_for_its_answer_however_long() -> None:
    settings = dataclasses.replace(SETTINGS, mode="lockstep", command_timeout=STEP / 10)
    commander = Commander(settings, answers=5, decisions=5)
    assert commander.run() == [0.5] * 5
    assert commander.world.withdrawals == 0
