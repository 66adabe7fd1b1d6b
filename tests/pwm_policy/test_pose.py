# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import math

import numpy as np
import pytest

from pwm_core.layout import ActionChannel, ActionLayout
from pwm_policy.assembly import ContractError
from pwm_policy.pose import Pose

LIFT = ActionChannel("lift", "elbow", "position", "rad", -2.0, 2.0, 0.5, -2.0, 0.1, rate=3.0)
ARM = ActionLayout(
    (
        ActionChannel("grip", "finger", "position", "rad", 0.0, 1.0, 0.25),
        LIFT,
        ActionChannel("turn", "wrist", "effort", "N·m", -9.0, 9.0, 0.0, rate=10.0),
        ActionChannel("slide", "rail", "position", "m", -1.0, 1.0, 0.0, rate=1.0),
    )
)


def said(**positions: float) -> dict[tuple[str, str], float]:
    return {(joint, "position"): position for joint, position in positions.items()}


def test_only_positions_with_a_rate_must_be_known() -> None:
    assert Pose(ARM).joints == ("elbow", "rail")
    efforts = Pose(ActionLayout(ARM.channels[2:3]))
    assert efforts.joints == ()
    assert efforts.command(math.inf) == pytest.approx([0.0])


def test_a_command_that_holds_the_joints_where_they_are() -> None:
    pose = Pose(ARM)
    pose.hear(said(rail=0.3, finger=0.9, elbow=0.7, wrist=1.0), arrived=10.0)
    command = pose.command(since=10.0)
    assert command == pytest.approx([0.25, -0.3, 0.0, 0.3])
    gears = np.array([channel.gear for channel in ARM.channels])
    offsets = np.array([channel.offset for channel in ARM.channels])
    assert (gears * command + offsets)[[1, 3]] == pytest.approx([0.7, 0.3])


def test_all_joints_must_be_measured_lately() -> None:
    pose = Pose(ARM)
    assert pose.unknown(0.0) == ["elbow", "rail"]
    pose.hear(said(rail=0.3), arrived=10.0)
    assert pose.unknown(0.0) == ["elbow"]
    assert pose.command(0.0) is None
    pose.hear(said(elbow=0.7) | {("rail", "velocity"): 1.0}, arrived=12.0)
    assert pose.command(9.0) is not None
    assert pose.unknown(11.0) == ["rail"]


@pytest.mark.parametrize("nothing", [math.nan, math.inf])
def test_a_position_that_is_not_finite_says_nothing(nothing: float) -> None:
    pose = Pose(ARM)
    pose.hear(said(rail=0.3, elbow=nothing), arrived=10.0)
    assert pose.unknown(0.0) == ["elbow"]


def test_a_rate_on_what_drives_no_joint_is_refused() -> None:
    tendon = ActionChannel("pull", "", "position", "m", -1.0, 1.0, 0.0, rate=1.0)
    with pytest.raises(ContractError, match="pull command positions at a rate but name no joint"):
        Pose(ActionLayout((LIFT, tendon)))
