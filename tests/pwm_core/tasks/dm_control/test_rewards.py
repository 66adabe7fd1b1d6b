# SPDX-License-Identifier: Apache-2.0
"""Rewards of TD-MPC2's eleven tasks at states whose reward is known.

Those of dm_control's own tasks are held against dm_control in ``test_planning.py``.
"""

from __future__ import annotations

import mujoco
import numpy as np
import pytest
from dm_control.utils.rewards import tolerance

from pwm_core.tasks.dm_control import cheetah, cup, hopper, pendulum, reacher, walker
from pwm_core.tasks.dm_control.body import Body
from pwm_core.tasks.readings import Readings, Reward


def at(body: Body, positions: dict[str, float], velocities: dict[str, float]) -> Readings:
    """Return the readings of one state of ``body``; what is not named is zero."""
    model = body.compile()
    data = mujoco.MjData(model)
    data.qpos[:] = 0
    for joint, value in positions.items():
        data.joint(joint).qpos[0] = value
    for joint, value in velocities.items():
        data.joint(joint).qvel[0] = value
    mujoco.mj_forward(model, data)
    return Readings.of(model, data)


def linear(x: float, wanted: float, margin: float, at_margin: float) -> float:
    """1 from ``wanted`` on, ``at_margin`` at ``margin`` below it, linear, never negative."""
    return float(np.clip(1 - (1 - at_margin) * max(0.0, wanted - x) / margin, 0, 1))


@pytest.mark.parametrize("speed", [-20.0, -8.0, -2.0, 0.0, 3.0])
def test_cheetah_backwards(speed: float) -> None:
    readings = at(cheetah.BODY, {}, {"rootx": speed})
    assert cheetah.backwards(readings)[0] == pytest.approx(np.clip(-speed / 8, 0, 1))


@pytest.mark.parametrize(("pitch", "up"), [(0.8, "bfoot"), (-0.8, "ffoot")])
def test_cheetah_on_one_foot_counts_the_foot_that_is_up(pitch: float, up: str) -> None:
    """Nose down raises the back foot; speed counts five sixths."""
    down = {"bfoot": "ffoot", "ffoot": "bfoot"}[up]
    for speed in (0.0, 3.0, 9.0):
        readings = at(cheetah.BODY, {"rooty": pitch, "rootz": 0.3}, {"rootx": speed})
        height = {part: readings.sensor(part)[0, 2] for part in ("torso", up, down)}
        assert height[up] > height[down] + 0.5
        high = {part: tolerance(z, (1.2, np.inf), margin=0.6) for part, z in height.items()}
        moving = (5 * min(speed / 6, 1) + 1) / 6
        for foot in (up, down):
            expected = (3 * high[foot] + 2 * high["torso"]) / 5 * moving
            assert cheetah.with_one_foot_up(foot)(readings)[0] == pytest.approx(expected)
        assert cheetah.with_one_foot_up(up)(readings) > cheetah.with_one_foot_up(down)(readings)


@pytest.mark.parametrize(("speed", "still"), [(0.0, 1.0), (0.5, 1.0), (-0.75, 0.5), (2.0, 0.0)])
def test_cheetah_jumps_on_the_spot(speed: float, still: float) -> None:
    high = at(cheetah.BODY, {"rootz": 3.0}, {"rootx": speed})
    assert cheetah.jumping(high)[0] == pytest.approx((5 + still) / 6)
    low = at(cheetah.BODY, {}, {"rootx": speed})
    assert cheetah.jumping(low)[0] < cheetah.jumping(high)[0] - 0.3


@pytest.mark.parametrize("wanted", [1.0, 8.0])
@pytest.mark.parametrize("part", [-1.0, 0.0, 0.4, 0.5, 0.8, 1.0, 2.0])
def test_walker_backwards(wanted: float, part: float) -> None:
    """The upright walker stands at full reward; moving counts five sixths."""
    readings = at(walker.BODY, {}, {"rootx": -part * wanted})
    moving = linear(part, 1.0, 0.5, 0.5)
    assert walker.moving(-wanted)(readings)[0] == pytest.approx((5 * moving + 1) / 6)
    forwards = at(walker.BODY, {}, {"rootx": part * wanted})
    assert walker.moving(wanted)(forwards)[0] == pytest.approx((5 * moving + 1) / 6)
    lying = at(walker.BODY, {"rooty": np.pi / 2, "rootz": -1.2}, {"rootx": -part * wanted})
    assert walker.moving(-wanted)(lying)[0] < 0.3


@pytest.mark.parametrize(
    ("speed", "expected"), [(-2.0, 1.0), (-1.0, 1.0), (-0.75, 0.75), (1.0, 0.0)]
)
def test_hopper_backwards(speed: float, expected: float) -> None:
    upright = at(hopper.BODY, {}, {"rootx": speed})
    assert hopper.hopping(-1.0)(upright)[0] == pytest.approx(expected)
    folded = at(hopper.BODY, {"hip": -2.0, "knee": 2.5}, {"rootx": speed})
    assert hopper.hopping(-1.0)(folded)[0] == 0


@pytest.mark.parametrize("speed", [0.0, 2.0, 4.5, 6.75, 9.0, 30.0])
def test_pendulum_spins_either_way(speed: float) -> None:
    for direction in (-1, 1):
        readings = at(pendulum.BODY, {}, {"hinge": direction * speed})
        assert pendulum.spinning(readings)[0] == pytest.approx(linear(speed, 9.0, 4.5, 0.5))


@pytest.mark.parametrize(("x", "z"), [(0.0, 0.35), (0.1, 0.35), (0.024, 0.326), (0.5, 0.0)])
def test_cup_spin_is_far_fast_and_outside(x: float, z: float) -> None:
    """The cup's middle is 55 cm up, the ball's zero position 20 cm."""
    readings = at(cup.BODY, {"ball_x": x, "ball_z": z}, {"ball_x": 3.0, "ball_z": 4.0})
    to_target = np.array([-x, 0.55 - 0.2 - z])
    inside = np.abs(to_target).max() < 0.025
    far = linear(float(np.linalg.norm(to_target)), 0.5, 0.25, 0.5)
    fast = linear(5.0, 6.0, 3.0, 0.5)
    assert cup.spinning(readings)[0] == pytest.approx((not inside) * (far + 2 * fast) / 3)
    assert cup.caught(readings)[0] == inside


@pytest.mark.parametrize(
    ("reward", "radius"), [(reacher.touching(0.05), 0.06), (reacher.touching(0.015), 0.025)]
)
def test_three_link_reacher_touches_its_target(reward: Reward, radius: float) -> None:
    """Stretched out, the finger is three links of 9 cm away."""
    model = reacher.THREE.compile()
    for offset, expected in ((0.0, 1), (0.99 * radius, 1), (1.01 * radius, 0)):
        model.geom("target").pos[:2] = 0.27 + offset, 0
        data = mujoco.MjData(model)
        mujoco.mj_forward(model, data)
        assert reward(Readings.of(model, data))[0] == expected


def test_three_link_reachers_joints() -> None:
    model = reacher.THREE.compile()
    assert [model.joint(i).name for i in range(model.njnt)] == ["shoulder", "elbow", "wrist"]
    np.testing.assert_array_equal(model.jnt_limited, [0, 1, 1])
    np.testing.assert_allclose(np.rad2deg(model.jnt_range[1:]), [[-80, 80]] * 2)
    np.testing.assert_array_equal(model.dof_damping, [0.01] * 3)
