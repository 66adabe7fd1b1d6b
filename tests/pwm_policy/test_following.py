# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest

from pwm_core.layout import ActionChannel, ActionLayout
from pwm_policy.following import Following, Lost
from pwm_policy.pose import Pose

ARM = ActionLayout(
    (
        ActionChannel("turn", "wrist", "effort", "N·m", -9.0, 9.0, 0.0),
        ActionChannel("lift", "elbow", "position", "1", -2.0, 2.0, 0.0, gear=-2.0, rate=3.0),
        ActionChannel("reach", "slide", "position", "m", -2.0, 2.0, 0.0, offset=0.5, rate=3.0),
    )
)
COMMAND = np.array([5.0, -0.5, 0.2])
"""Elbow at 1 rad, slide at 0.7 m."""


class Rig:
    """An arm that is looked after."""

    def __init__(self) -> None:
        self.pose = Pose(ARM)
        self.following = Following(self.pose, limit=0.1, patience=0.5)

    def lost(self, now: float, elbow: float = 1.0, slide: float = 0.7) -> Lost | None:
        self.pose.hear({("elbow", "position"): elbow, ("slide", "position"): slide}, now)
        return self.following.lost(COMMAND, now)


@pytest.fixture
def rig() -> Rig:
    rig = Rig()
    rig.following.restart(10.0)
    return rig


def test_joints_near_their_commands_are_not_lost(rig: Rig) -> None:
    assert not any(rig.lost(10.0 + now, elbow=1.09, slide=0.61) for now in range(9))


def test_the_one_that_is_away_for_too_long_is_named(rig: Rig) -> None:
    assert rig.lost(10.0) is None
    assert rig.lost(10.5, slide=0.9) is None
    assert rig.lost(10.6, slide=0.9) == Lost(
        "joint slide does not follow its command: 0.2 rad or m away, for 0.5 s more than "
        "max_following_error 0.1",
        measured=True,
    )


def test_one_that_comes_back_in_time_is_not_lost(rig: Rig) -> None:
    assert rig.lost(10.4, elbow=3.0) is None
    assert rig.lost(10.45) is None
    assert rig.lost(10.9, elbow=3.0) is None


def test_one_that_is_not_measured_any_more_is_lost(rig: Rig) -> None:
    assert rig.lost(10.0) is None
    assert rig.following.lost(COMMAND, 10.5) is None
    assert rig.following.lost(COMMAND, 11.01) == Lost(
        "joint elbow does not follow its command: not measured, for 0.5 s more than "
        "max_following_error 0.1",
        measured=False,
    )


def test_of_two_the_one_that_was_found_away_is_named(rig: Rig) -> None:
    assert rig.lost(10.0) is None
    for now in (10.5, 11.01):
        rig.pose.hear({("slide", "position"): 0.9}, now)
        lost = rig.following.lost(COMMAND, now)
    assert lost is not None
    assert lost.measured
    assert lost.reason.startswith("joint slide ")


def test_a_new_start_forgets(rig: Rig) -> None:
    assert rig.lost(10.0) is None
    assert rig.lost(11.0, elbow=0.0)
    rig.following.restart(11.0)
    assert rig.lost(11.1, elbow=0.0) is None
