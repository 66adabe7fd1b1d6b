# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pwm_mujoco.bare_model import load_model
from pwm_mujoco.disturbances import Disturbances
from pwm_mujoco.world import World

PENDULUM = """
<mujoco>
  <option timestep="0.005"/>
  <worldbody>
    <body>
      <joint name="pivot" axis="0 1 0"/>
      <geom type="capsule" fromto="0 0 0 0 0 -0.5" size="0.02" mass="1"/>
    </body>
  </worldbody>
  {actuators}
  <keyframe><key name="lifted" qpos="1.0"/></keyframe>
</mujoco>
"""
MOTOR = '<actuator><motor name="motor" joint="pivot"/></actuator>'


def make_world(directory: Path, actuators: str = MOTOR, **disturbances) -> World:
    file = directory / "pendulum.xml"
    file.write_text(PENDULUM.format(actuators=actuators))
    model = load_model(file, control_step=0.02)
    return World(model.name, 0, lambda _: model, Disturbances(**disturbances))


def test_a_model_starts_at_its_keyframe_and_moves_by_itself(tmp_path: Path) -> None:
    world = make_world(tmp_path)
    assert world.observation == pytest.approx((np.cos(1.0), np.sin(1.0), 0.0))
    world.decide()
    assert world.time == pytest.approx(0.02)
    assert world.reading.velocity[0] < 0.0
    assert (world.reward, world.ended, world.task.name) == (0.0, False, "pendulum")


def test_an_actuator_without_limits_takes_its_command_as_it_is(tmp_path: Path) -> None:
    world = make_world(tmp_path)
    assert world.offer(["motor"], [123.456], world.step)
    world.substep()
    assert world.reading.effort[0] == pytest.approx(123.456, rel=1e-6)


def test_a_model_without_actuators_takes_none(tmp_path: Path) -> None:
    world = make_world(tmp_path, actuators="")
    assert world.offer([], [], world.step)
    world.decide()
    with pytest.raises(ValueError, match=r"unknown \['motor'\]"):
        world.offer(["motor"], [0.0], world.step)


def test_disturbances_act_on_it(tmp_path: Path) -> None:
    world = make_world(tmp_path, actuator_gain=0.5, sensor_bias=0.1)
    assert world.reading.position[0] == pytest.approx(1.1)
    world.offer(["motor"], [10.0], world.step)
    world.substep()
    assert world.reading.effort[0] == pytest.approx(5.0)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "does not exist"),
        ("<mujoco><worldbody><body></worldbody></mujoco>", "XML"),
        ("<mujoco/>", "no joints"),
    ],
)
def test_what_cannot_be_simulated_is_refused_with_its_name(
    tmp_path: Path, content: str | None, reason: str
) -> None:
    file = tmp_path / "scene.xml"
    if content is not None:
        file.write_text(content)
    with pytest.raises(ValueError, match=rf"model_file .*scene.xml.*{reason}"):
        load_model(file, 0.02)
