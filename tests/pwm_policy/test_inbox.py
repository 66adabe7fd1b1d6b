# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest

from pwm_core.history import previous_commands, with_history
from pwm_core.layout import ActionChannel, ActionLayout, ObservationChannel, ObservationLayout
from pwm_policy.assembly import Assembler
from pwm_policy.inbox import AssemblingInbox, Moment

ACTION = ActionLayout((ActionChannel("motor", "arm", "effort", "N·m", -1.0, 1.0, 0.0),))
POSITION = ObservationChannel("arm/position", "rad", "joint_states", "arm", "position")
LAYOUT = ObservationLayout(with_history((POSITION, *previous_commands(ACTION)), 1))


class Rig:
    """An inbox of a robot with one joint."""

    def __init__(self) -> None:
        self.assembler = Assembler(LAYOUT, ACTION, 0.5)
        self.inbox = AssemblingInbox(self.assembler, step=10)

    def say(self, position: float, repeated: bool = False) -> None:
        """The position is the stamp, too."""
        self.assembler.hear("joint_states", {("arm", "position"): position}, position)
        self.inbox.heard(position, position, repeated)

    def decide(self, again: bool = False) -> tuple[int, list[float]]:
        """Take an observation and answer with a tenth of the position."""
        sample = self.inbox.take(0.0, again)
        self.inbox.answered(sample.data[:1] / 10)
        return sample.step, np.round(sample.data.tolist(), 6).tolist()


@pytest.fixture
def rig() -> Rig:
    return Rig()


def test_ready_when_everything_was_heard(rig: Rig) -> None:
    assert not rig.inbox.ready
    rig.say(1.0)
    assert rig.inbox.ready
    assert rig.inbox.newest is None
    assert rig.inbox.wait(0, timeout=0) == 1
    assert rig.inbox.arrived == 1.0


def test_every_take_is_a_decision(rig: Rig) -> None:
    rig.say(1.0)
    assert rig.decide() == (11, [1, 0, 1, 0])
    rig.say(2.0)
    assert rig.decide() == (12, [2, 0.1, 1, 0])
    assert rig.decide() == (13, [2, 0.2, 2, 0.1]), "time goes on without a message"


def test_a_skipped_decision_leaves_a_gap_between_steps(rig: Rig) -> None:
    rig.say(1.0)
    assert rig.decide()[0] == 11
    rig.inbox.skip(2)
    assert rig.decide(again=True)[0] == 11, "the decision of then"
    assert rig.decide()[0] == 14


@pytest.mark.parametrize("by_message", [True, False])
def test_the_same_decision_again_moves_nothing(rig: Rig, by_message: bool) -> None:
    for position in (1.0, 2.0):
        rig.say(position)
        expected = rig.decide()
    if by_message:
        rig.say(2.0, repeated=True)
    assert rig.decide(again=not by_message) == expected
    rig.say(3.0)
    rig.say(3.0, repeated=True)
    assert rig.decide() == (13, [3, 0.2, 2, 0.1]), "new, though it was repeated at once"


def test_steps_and_episodes_of_a_simulator(rig: Rig) -> None:
    rig.inbox.mark(Moment(70, 3, 1.0))
    rig.say(1.0)
    assert rig.decide() == (70, [1, 0, 1, 0])
    rig.inbox.mark(Moment(71, 3, 2.0))
    rig.say(2.0)
    assert rig.decide() == (71, [2, 0.1, 1, 0])
    rig.inbox.mark(Moment(72, 4, 5.0))
    assert rig.inbox.take(0.0).step == 71, "the sensors have not seen the new episode"
    rig.say(2.0, repeated=True)
    assert rig.inbox.take(0.0).step == 71, "nor has what they said of the old one"
    rig.say(5.0)
    assert rig.decide() == (72, [5, 0, 5, 0])


def test_sensors_that_overtake_the_simulator_wait_for_it(rig: Rig) -> None:
    rig.inbox.mark(Moment(70, 3, 1.0))
    rig.say(1.0)
    rig.decide()
    arrivals = rig.inbox.count
    rig.say(2.0)
    assert rig.inbox.count == arrivals, "of the moment that was marked nothing is new"
    assert rig.inbox.take(0.0, again=True).step == 70
    rig.inbox.mark(Moment(71, 4, 2.0))
    assert rig.inbox.count == arrivals + 1
    assert rig.inbox.arrived == 2.0
    assert rig.decide() == (71, [2, 0, 2, 0]), "the episode is new, and so is its history"


def test_an_inbox_begins_an_episode(rig: Rig) -> None:
    rig.say(1.0)
    rig.decide()
    again = AssemblingInbox(rig.assembler, step=11)
    assert again.take(0.0).data.tolist() == [1, 0, 1, 0]
