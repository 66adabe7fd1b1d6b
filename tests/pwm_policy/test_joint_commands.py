# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pwm_core.layout import ActionChannel, ActionLayout
from pwm_policy.joint_commands import CommandError, JointCommands, driven_joints

LAYOUT = ActionLayout(
    (
        ActionChannel("lift", "elbow", "position", "1", -1.0, 1.0, 0.0, gear=-2.0, offset=0.5),
        ActionChannel("turn", "wrist", "position", "1", -1.0, 1.0, 0.0, gear=0.1),
        ActionChannel("grip", "finger", "position", "m", 0.0, 1.0, 0.0),
    )
)
COMMAND = np.array([0.25, -1.0, 0.75])


def changed(**changes) -> ActionLayout:
    """The layout with a changed last channel."""
    return ActionLayout((*LAYOUT.channels[:2], replace(LAYOUT.channels[2], **changes)))


@pytest.mark.parametrize(
    "order",
    [("elbow", "wrist", "finger"), ("finger", "elbow", "wrist"), ("wrist", "finger", "elbow")],
)
def test_each_joint_gets_its_own_command_in_any_order(order: tuple[str, ...]) -> None:
    joints = JointCommands(LAYOUT, order)
    expected = {"elbow": -2.0 * 0.25 + 0.5, "wrist": -0.1, "finger": 0.75}
    assert dict(zip(joints.joints, joints(COMMAND), strict=True)) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("order", "reasons"),
    [
        (("elbow", "wrist"), ["joints lack finger, which the policy commands"]),
        (
            ("elbow", "wrist", "finger", "toe"),
            ["joints have toe, which the policy does not command"],
        ),
        (("elbow", "elbow", "wrist", "finger"), ["joints name elbow more than once"]),
        (("a", "b"), ["lack elbow, wrist, finger", "have a, b"]),
    ],
)
def test_other_joints_are_refused_with_every_difference(order, reasons) -> None:
    with pytest.raises(CommandError) as refused:
        JointCommands(LAYOUT, order)
    assert all(reason in str(refused.value) for reason in reasons), refused.value


def test_a_joint_driven_twice_or_none_at_all_cannot_be_commanded() -> None:
    for layout, reason in (
        (changed(joint="elbow"), "several of the policy's actuators drive elbow"),
        (changed(joint=""), "the policy's actuators grip drive no joint"),
    ):
        with pytest.raises(CommandError, match=reason):
            JointCommands(layout, driven_joints(layout))


def test_one_interpretation_is_told_and_several_are_refused() -> None:
    joints = JointCommands(LAYOUT, driven_joints(LAYOUT))
    assert joints.interpretation("a trajectory") == "position"
    mixed = changed(interpretation="effort")
    with pytest.raises(CommandError, match=r"a trajectory .* finger by effort"):
        JointCommands(mixed, driven_joints(mixed)).interpretation("a trajectory")
