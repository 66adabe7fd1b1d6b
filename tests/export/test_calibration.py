# SPDX-License-Identifier: Apache-2.0
"""How late the commands of calibration episodes act, and whose."""

from __future__ import annotations

import numpy as np
import pytest
from torch import nn

from pwm_core.tasks import SingleEnvironment, get_task
from pwm_export import calibration
from pwm_export.calibration import acting, delays, own_episodes, play

CARTPOLE, SUBSTEPS = get_task("cartpole-balance"), 2
STEPS = CARTPOLE.episode_steps


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_without_lateness_every_command_acts_at_once(rng: np.random.Generator) -> None:
    assert not delays(rng, 1000, 4, 0.0).any()


def test_a_simulator_step_cannot_be_split_but_the_mean_is_right(rng: np.random.Generator) -> None:
    late = delays(rng, 10_000, 4, 0.3)
    usual = late[late < 4]
    assert set(usual) == {1, 2}
    assert usual.mean() / 4 == pytest.approx(0.3, abs=0.01)


@pytest.mark.parametrize("lateness", [0.5, 1.0, 1.5])
def test_a_few_decisions_are_a_control_step_later_than_usual(
    rng: np.random.Generator, lateness: float
) -> None:
    late = delays(rng, 10_000, 4, lateness)
    assert set(late) == {4 * lateness, 4 * lateness + 4}
    assert np.mean(late >= 4 * lateness + 4) == pytest.approx(calibration.HELD_SHARE, rel=0.2)


def test_the_newest_command_that_came_acts() -> None:
    late = np.array([0, 1, 4, 0, 2])
    expected = [[0, 0], [0, 1], [1, 1], [3, 3], [3, 3]]
    np.testing.assert_array_equal(acting(late, 2), expected)


def test_before_the_first_command_nobody_s_acts() -> None:
    np.testing.assert_array_equal(acting(np.array([3, 0]), 2), [[-1, -1], [1, 1]])


def still(observation: np.ndarray) -> np.ndarray:
    return np.zeros((len(observation), 1))


def test_an_episode_in_time_is_the_environment_s_own() -> None:
    environment, twin = (CARTPOLE.make_single(3) for _ in range(2))
    noise = np.random.default_rng(1).uniform(-1, 1, (STEPS, 1)).astype(np.float32)
    run = play(environment, CARTPOLE, still, noise, np.zeros(STEPS, int))
    np.testing.assert_array_equal(run.observation, episode(twin, noise))
    np.testing.assert_array_equal(run.sent, [[0.0], *noise])
    np.testing.assert_array_equal(run.acted, noise)


def test_a_late_command_leaves_its_turn_to_the_one_before() -> None:
    """One control step late is the episode of the commands moved by one, from the safe action."""
    environment, twin = (CARTPOLE.make_single(3) for _ in range(2))
    noise = np.random.default_rng(1).uniform(-1, 1, (STEPS, 1)).astype(np.float32)
    run = play(environment, CARTPOLE, still, noise, np.full(STEPS, SUBSTEPS))
    moved = np.concatenate([np.zeros((1, 1), np.float32), noise[:-1]])
    np.testing.assert_array_equal(run.observation, episode(twin, moved))
    np.testing.assert_array_equal(run.sent[1:], noise)
    np.testing.assert_array_equal(run.acted, moved)


def test_a_command_half_a_step_late_acts_by_half() -> None:
    noise = np.random.default_rng(1).uniform(-1, 1, (STEPS, 1)).astype(np.float32)
    late = np.ones(STEPS, int)
    run = play(CARTPOLE.make_single(3), CARTPOLE, still, noise, late)
    np.testing.assert_allclose(run.acted[1:], (noise[1:] + noise[:-1]) / 2, atol=1e-6)


def test_clipped_commands_are_what_was_sent() -> None:
    noise = np.full((STEPS, 1), -3.0)
    run = play(CARTPOLE.make_single(3), CARTPOLE, still, noise, np.zeros(STEPS, int))
    assert (run.sent[1:] == -1).all()


def episode(environment: SingleEnvironment, actions: np.ndarray) -> list[np.ndarray]:
    """Return the observations of an episode of ``actions``."""
    return [environment.reset()[0], *(environment.step(action)[0] for action in actions)]


@pytest.mark.parametrize(("minutes", "count"), [(1.0, calibration.FEWEST), (5.0, 5)])
def test_a_third_of_the_episodes_has_each_lateness_and_half_are_disturbed(
    monkeypatch: pytest.MonkeyPatch, minutes: float, count: int
) -> None:
    """However long they are, there are enough of each; here a minute would be one of each."""
    monkeypatch.setattr(calibration, "MINUTES", minutes)  # of episodes of ten seconds
    asked: list[float] = []

    def in_time(rng: np.random.Generator, steps: int, substeps: int, lateness: float) -> np.ndarray:
        asked.append(lateness)
        return np.zeros(steps, int)

    monkeypatch.setattr(calibration, "delays", in_time)
    policy = nn.Sequential(nn.Linear(5, 1), nn.Tanh())
    nn.init.zeros_(policy[0].weight)
    nn.init.zeros_(policy[0].bias)
    own = own_episodes(policy, CARTPOLE, 0.6)
    assert (own.source, own.lateness) == ("policy", 0.6)
    assert [len(group) for group in own.calm] == [count] * 3
    assert len(own.disturbed) == 3 * count
    assert asked == (count * [0.0] + count * [0.3] + count * [0.6]) * 2
    assert not any(run.sent.any() for group in own.calm for run in group)
    assert np.std([run.sent for run in own.disturbed]) == pytest.approx(0.1, rel=0.1)
