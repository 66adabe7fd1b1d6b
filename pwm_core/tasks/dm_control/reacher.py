# SPDX-License-Identifier: Apache-2.0
"""DM Control's two-link reacher, and TD-MPC2's with three links."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from xml.etree.ElementTree import Element, SubElement

import numpy as np
from dm_control.utils.rewards import tolerance

from pwm_core.layout import ActionChannel, ActionLayout, ObservationLayout
from pwm_core.tasks.channels import joint_positions, joint_velocities
from pwm_core.tasks.dm_control.body import Body, observed
from pwm_core.tasks.dm_control.describe import custom, published
from pwm_core.tasks.frame_sensor import FrameSensor
from pwm_core.tasks.readings import Readings, Reward
from pwm_core.tasks.task import Task

EASY, HARD = 0.05, 0.015
"""Radii of the targets in metres."""
FINGER = 0.01  # metres, its radius
LINK = 0.09  # metres between the joints of the three-link arm


def three_links(mjcf: Element) -> None:
    """Make the two-link arm one of three shorter links, the new one between arm and hand."""
    arm = _named(mjcf, "body", "arm")
    hand = _named(arm, "body", "hand")
    wrist, finger = _named(hand, "joint", "wrist"), _named(hand, "body", "finger")
    length = f"{LINK} 0 0"
    forearm = SubElement(arm, "body", name="forearm", pos=length)
    for body, name in ((arm, "arm"), (forearm, "forearm")):
        geom = body.find("geom") if body is arm else SubElement(body, "geom", type="capsule")
        assert geom is not None
        geom.attrib.update(name=name, fromto=f"0 0 0 {length}", size=".01", material="self")
    SubElement(forearm, "joint", name="elbow", limited="true", range="-80 80")
    wrist.set("range", "-80 80")
    arm.remove(hand)
    forearm.append(hand)
    hand.set("pos", length)
    finger.set("pos", length)
    actuators = mjcf.find("actuator")
    assert actuators is not None
    actuators.insert(1, Element("motor", name="elbow", joint="elbow"))


def _named(parent: Element, tag: str, name: str) -> Element:
    found = parent.find(f".//{tag}[@name='{name}']")
    assert found is not None, f"reacher.xml has no {tag} {name}"
    return found


def _body(name: str, joints: Sequence[str], edit: Callable[[Element], None] | None = None) -> Body:
    return Body(
        name=name,
        domain="reacher",
        observation=ObservationLayout(
            (
                *joint_positions(joints),
                observed("to_target/x", "m"),
                observed("to_target/y", "m"),
                *joint_velocities(joints),
            )
        ),
        action=ActionLayout(
            tuple(
                ActionChannel(joint, joint, "effort", "1", -1.0, 1.0, 0.0, gear=0.05)
                for joint in joints
            )
        ),
        simulator_step=0.02,
        sensors=(
            FrameSensor("finger", "position", "geom", "finger"),
            FrameSensor("target", "position", "geom", "target"),
        ),
        edit=edit,
    )


TWO = _body("reacher", ("shoulder", "wrist"))
THREE = _body("reacher_three", ("shoulder", "elbow", "wrist"), three_links)


def touching(target: float) -> Reward:
    """1 where the finger touches a target of that radius."""

    def reward(readings: Readings) -> np.ndarray:
        apart = (readings.sensor("target") - readings.sensor("finger"))[:, :2]
        return tolerance(np.linalg.norm(apart, axis=-1), (0, target + FINGER))

    return reward


def _three(name: str, target: float) -> Task:
    return custom(
        THREE, name, touching(target), lambda domain, seed: domain.Reacher(target, random=seed)
    )


TASKS = (
    published(TWO, "reacher-easy", touching(EASY), "ReacherEasy-v1"),
    published(TWO, "reacher-hard", touching(HARD), "ReacherHard-v1"),
    _three("reacher-three-easy", EASY),
    _three("reacher-three-hard", HARD),
)
