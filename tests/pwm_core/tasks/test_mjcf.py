# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import mujoco
import numpy as np
import pytest

from pwm_core.tasks.mjcf import MjcfEnvironment, MjcfTask, MjcfTaskError, task_from_mjcf


@pytest.fixture
def pendulum(project: Path) -> MjcfTask:
    return MjcfTask(
        "pendulum-upright", project / "robots" / "pendulum.xml", "my_rewards:upright", project
    )


def test_a_decision_is_mujocos_steps_under_the_scaled_action(pendulum: MjcfTask) -> None:
    one = task_from_mjcf(pendulum).make_single(0)
    model = mujoco.MjModel.from_xml_path(str(pendulum.mjcf))
    data = mujoco.MjData(model)
    one.reset(seed=3)
    data.qpos[:], data.qvel[:] = one.data.qpos, one.data.qvel
    for action in (1.0, -0.5, 0.0):
        observation, reward, terminated, truncated, _ = one.step(np.array([action]))
        data.ctrl[:] = 2 * action
        mujoco.mj_step(model, data, 2)
        angle = data.qpos[0]
        np.testing.assert_allclose(
            observation, [np.cos(angle), np.sin(angle), data.qvel[0]], atol=1e-6
        )
        assert reward == pytest.approx((1 - np.cos(angle)) / 2 - 0.01 * action**2)
        assert not terminated
        assert not truncated
    assert one.data.time == pytest.approx(3 * 0.02)


def test_description_of_the_task(pendulum: MjcfTask) -> None:
    task = task_from_mjcf(replace(pendulum, control_step=0.05, episode_steps=7))
    assert (task.name, task.suite, task.body) == ("pendulum-upright", "own", "pendulum")
    assert (task.control_step, task.episode_steps, task.episodic) == (0.05, 7, False)
    assert task.observation.size == 3
    assert task.action.high.tolist() == [2.0]
    ends = [task.make_single(0).step(np.zeros(1))[3] for _ in range(1)]
    assert ends == [False]
    one = task.make_single(0)
    assert [one.step(np.zeros(1))[3] for _ in range(7)] == [False] * 6 + [True]


def test_the_modules_reset_and_terminal_states(pendulum: MjcfTask) -> None:
    task = task_from_mjcf(replace(pendulum, reward="my_endings:upright"))
    assert task.episodic
    one = task.make_single(0)
    one.reset(seed=1)
    assert 1 <= one.data.qpos[0] <= 2
    ends = [one.step(np.zeros(1))[2:4] for _ in range(10)]
    assert ends == [(False, False)] * 9 + [(True, False)]
    many = task.make_vector(2, 0)
    many.reset()
    for _ in range(12):
        after = many.step(np.zeros((2, 1)))
    assert after.terminated.all()
    assert (after.reward == 0).all(), "what has ended stays ended"


def test_vector_is_its_singles(pendulum: MjcfTask) -> None:
    task = task_from_mjcf(pendulum)
    many, ones = task.make_vector(2, 5), [task.make_single(5), task.make_single(6)]
    np.testing.assert_array_equal(many.reset(), np.stack([one.reset()[0] for one in ones]))
    action = np.array([[0.4], [-0.9]])
    after = many.step(action)
    for i, one in enumerate(ones):
        observation, reward, *_ = one.step(action[i])
        np.testing.assert_array_equal(after.observation[i], observation)
        assert after.reward[i] == reward


def test_episodes_are_made_of_their_seed(pendulum: MjcfTask) -> None:
    one, other = (task_from_mjcf(pendulum).make_single(seed) for seed in (0, 1))
    one.step(np.ones(1))
    first = one.reset(seed=7)[0]
    np.testing.assert_array_equal(first, other.reset(seed=7)[0])
    assert np.abs(first - other.reset(seed=8)[0]).max() > 1e-5


def test_an_episode_starts_at_the_first_keyframe(pendulum: MjcfTask) -> None:
    text = pendulum.mjcf.read_text()
    key = '<keyframe><key name="up" qpos="3.14159"/></keyframe></mujoco>'
    pendulum.mjcf.write_text(text.replace("</mujoco>", key))
    observation, _ = task_from_mjcf(pendulum).make_single(0).reset(seed=0)
    assert observation[0] < -0.99


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mjcf": Path("no.xml")}, "no.xml does not exist"),
        ({"mjcf": Path("my_rewards.py")}, "my_rewards.py does not compile: .*XML"),
        ({"reward": "upright"}, "reward 'upright' is not of the form module:function"),
        ({"reward": "no_module:walk"}, "no module 'no_module', neither in .* nor installed"),
        ({"reward": "my_rewards:run"}, "my_rewards.py has no function 'run'"),
        ({"reward": "my_rewards:number"}, "my_rewards.py has no function 'number'"),
        ({"control_step": 0.015}, "0.015 s is no multiple of the timestep of .*, 0.01 s"),
        ({"control_step": 0.0}, "0.0 s is no multiple"),
        ({"episode_steps": 0}, "an episode of 0 decisions"),
        ({"observation": ("imu",)}, "pendulum.xml: the model has no sensor 'imu'"),
    ],
)
def test_mistakes_are_found_when_the_task_is_described(
    pendulum: MjcfTask, change: dict, message: str
) -> None:
    with pytest.raises(MjcfTaskError, match=f"task pendulum-upright: .*{message}"):
        task_from_mjcf(replace(pendulum, **change))


def test_a_model_without_actuators_names_the_file(pendulum: MjcfTask) -> None:
    text = pendulum.mjcf.read_text()
    start, end = text.index("<actuator>"), text.index("</actuator>")
    pendulum.mjcf.write_text(text[:start] + "<actuator>" + text[end:])
    with pytest.raises(MjcfTaskError, match=r"pendulum.xml: the model has no actuators"):
        task_from_mjcf(pendulum)


def test_rewards_of_two_robots_may_lie_in_files_of_one_name(
    pendulum: MjcfTask, project: Path
) -> None:
    """Each imports what lies beside it, too."""
    found = []
    for name, worth in (("first", 1.0), ("second", 2.0)):
        (project / name).mkdir()
        (project / name / f"worth_{name}.py").write_text(f"WORTH = {worth}\n")
        text = f"from worth_{name} import WORTH\ndef walk(*_):\n    return WORTH\n"
        (project / name / "rewards.py").write_text(text)
        task = task_from_mjcf(replace(pendulum, reward="rewards:walk", modules=project / name))
        found.append(task)
    assert [task.make_single(0).step(np.zeros(1))[1] for task in found] == [1.0, 2.0]


def test_an_import_that_fails_inside_the_module_is_the_users_to_see(
    pendulum: MjcfTask, project: Path
) -> None:
    (project / "needs_more.py").write_text("import not_there_at_all\n")
    with pytest.raises(ModuleNotFoundError, match="not_there_at_all"):
        task_from_mjcf(replace(pendulum, reward="needs_more:walk"))


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("endless", "returned inf at 0.020 s; a finite number was expected"),
        ("twofold", r"returned array\(\[0., 0.\]\) at 0.020 s; a number was expected"),
        ("nothing", "returned None at 0.020 s; a number was expected"),
    ],
)
def test_rewards_that_are_no_finite_number(pendulum: MjcfTask, function: str, message: str) -> None:
    one = task_from_mjcf(replace(pendulum, reward=f"my_rewards:{function}")).make_single(0)
    with pytest.raises(MjcfTaskError, match=f"reward my_rewards:{function} {message}"):
        one.step(np.zeros(1))


def test_planned_rewards_are_those_of_stepping(pendulum: MjcfTask) -> None:
    task = task_from_mjcf(pendulum)
    one = task.make_single(0)
    one.step(np.ones(1))
    plans = np.random.default_rng(0).uniform(-1, 1, (1, 3, 6, 1))
    assert task.make_dynamics is not None
    planned = task.make_dynamics([one], 1).rollout(one.state()[None], plans)
    stepped = [float(one.step(action)[1]) for action in plans[0, 2]]
    np.testing.assert_allclose(planned[0, 2], stepped, atol=1e-9)


def test_diverged_physics_are_not_taken_for_an_episode(pendulum: MjcfTask) -> None:
    one = task_from_mjcf(pendulum).make_single(0)
    assert isinstance(one, MjcfEnvironment)
    one.data.qvel[:] = 1e20
    with pytest.raises(MjcfTaskError, match=r"physics of .*pendulum.xml diverged"):
        one.step(np.zeros(1))
    one.reset(seed=0)
    one.step(np.zeros(1))
