# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import pytest

from pwm_core.data.behaviours import (
    BehaviourError,
    Correlated,
    Planner,
    SamplingMpc,
    ScriptedExpert,
    Uniform,
    correlated_noise,
)
from pwm_core.data.behaviours.behaviour import Recorder, play
from pwm_core.tasks import Task, VectorStep, get_task


def test_correlated_noise_is_stationary_with_the_correlation_asked_for() -> None:
    noise = correlated_noise(np.random.default_rng(0), (400, 60, 2), 0.9)
    np.testing.assert_allclose(noise.std((0, 2)), 1, atol=0.15)
    neighbours = np.corrcoef(noise[:, 1:].ravel(), noise[:, :-1].ravel())[0, 1]
    assert neighbours == pytest.approx(0.9, abs=0.02)
    assert abs((noise[..., 0] * noise[..., 1]).mean()) < 0.1


def record(task: Task, steps: Sequence[VectorStep]) -> Recorder:
    recorder = Recorder(task, np.zeros((2, 1)))
    for step in steps:
        recorder.add(np.zeros((2, 1)), *step)
    return recorder


def step(
    value: float, terminated: Sequence[bool], truncated: Sequence[bool], success: Sequence[bool]
) -> VectorStep:
    return VectorStep(
        np.full((2, 1), value),
        np.full(2, value),
        np.array(terminated),
        np.array(truncated),
        np.array(success),
    )


def test_each_episode_ends_where_it_ended_with_the_success_of_its_last_decision() -> None:
    task = get_task("mw-reach")
    recorder = record(
        task,
        [
            step(1, [False, False], [False, False], [False, True]),
            step(2, [True, False], [False, False], [True, True]),
            step(3, [False, False], [False, True], [False, False]),
        ],
    )
    assert not recorder.running.any()
    first, second = recorder.trajectories()
    np.testing.assert_array_equal(first.reward, [1, 2])
    np.testing.assert_array_equal(first.observation[:, 0], [0, 1, 2])
    assert first.action.shape == (2, 1)
    assert (first.terminated, first.success) == (True, True)
    np.testing.assert_array_equal(second.reward, [1, 2, 3])
    assert (second.terminated, second.success) == (False, False), "solved once, but not at the end"


def test_success_is_unknown_where_the_task_does_not_report_it() -> None:
    recorder = record(get_task("cartpole-balance"), [step(1, [True] * 2, [False] * 2, [True] * 2)])
    assert [episode.success for episode in recorder.trajectories()] == [None, None]


def test_a_task_with_terminations_gives_episodes_of_their_own_lengths() -> None:
    task = get_task("gym-hopper")
    episodes = Uniform().collect(task, 2, 3)
    assert len({len(e.reward) for e in episodes}) == 2
    for episode in episodes:
        assert episode.terminated
        assert len(episode.observation) == len(episode.action) + 1 == len(episode.reward) + 1
        assert len(episode.reward) < task.episode_steps
        assert np.isfinite(episode.observation).all()


def test_actions_beyond_the_range_are_recorded_as_they_were_applied() -> None:
    task = get_task("gym-hopper")
    (episode,) = play(task, lambda *_: np.full((1, task.action.size), 7.0), 1, 0)
    np.testing.assert_array_equal(episode.action, 1.0)


@pytest.mark.parametrize("behaviour", [Uniform(), Correlated()])
def test_an_episode_does_not_depend_on_the_ones_beside_it(behaviour: Uniform | Correlated) -> None:
    """The environments of a vector draw by their own seeds."""
    task = get_task("cartpole-balance")
    seen = behaviour.collect(task, 2, 3), behaviour.collect(task, 2, 3)
    for one, other in zip(*seen, strict=True):
        np.testing.assert_array_equal(one.observation, other.observation)
    assert not np.array_equal(seen[0][0].action, seen[0][1].action)


def test_scripted_experts_solve_their_task_and_noise_makes_them_worse() -> None:
    task = get_task("mw-reach")
    clean, noisy = ScriptedExpert(0.0).collect(task, 3, 1), ScriptedExpert(1.0).collect(task, 3, 1)
    assert all(episode.success for episode in clean)
    assert np.mean([e.reward.sum() for e in noisy]) < np.mean([e.reward.sum() for e in clean])
    assert max(np.abs(e.action).max() for e in noisy) <= 1
    assert ScriptedExpert(0.3).name == "expert-0.3"


def test_sampling_mpc_is_deterministic_and_keeps_the_pole_up() -> None:
    task = dataclasses.replace(get_task("cartpole-balance"), episode_steps=40)
    (first,) = SamplingMpc(0.2, Planner(horizon=20)).collect(task, 1, 3)
    (again,) = SamplingMpc(0.2, Planner(horizon=20)).collect(task, 1, 3)
    np.testing.assert_array_equal(first.observation, again.observation)
    np.testing.assert_array_equal(first.action, again.action)
    assert first.observation.shape == (41, 5)
    assert first.reward.shape == (40,)
    assert np.abs(first.action).max() <= 1
    assert first.reward.mean() > 1.6
    assert SamplingMpc(noise=0.2).name == "mpc-0.2"


def test_only_plans_are_judged_by_longer_steps_episodes_are_exact() -> None:
    task = dataclasses.replace(get_task("walker-stand"), episode_steps=6)
    planner = Planner(horizon=5, samples=8, replan_every=2)
    coarse = dataclasses.replace(planner, coarseness=5)
    (exact,), (episode,) = (SamplingMpc(0.0, p).collect(task, 1, 3) for p in (planner, coarse))
    assert not np.array_equal(episode.action, exact.action)
    environment = task.make_single(3)
    environment.reset(seed=3)
    for action, reward in zip(episode.action, episode.reward, strict=True):
        assert environment.step(action)[1] == pytest.approx(reward, rel=1e-5)


class NoRewardInSight:
    def rollout(self, state: np.ndarray, action: np.ndarray) -> np.ndarray:
        return np.zeros(action.shape[:3])


def test_without_a_reward_in_sight_mpc_goes_looking() -> None:
    plan = np.zeros((2, 40, 1))
    rng = np.random.default_rng(0)
    improved = Planner(spread=0.5).improve(NoRewardInSight(), np.zeros((2, 3)), plan, rng)
    assert improved.std() == pytest.approx(0.5 * np.sqrt(2 / 3), rel=0.35), "one of the candidates"


def test_some_candidates_are_waves() -> None:
    """Of a sine clipped at half its height most of the time is spent at the extremes."""
    seen: list[np.ndarray] = []

    class Seeing(NoRewardInSight):
        def rollout(self, state: np.ndarray, action: np.ndarray) -> np.ndarray:
            seen.append(action)
            return super().rollout(state, action)

    planner = Planner(horizon=120, samples=8, waves=3)
    plan = planner.improve(
        Seeing(), np.zeros((2, 3)), np.zeros((2, 120, 1)), np.random.default_rng(0)
    )
    assert plan.shape == (2, 120, 1)
    extreme = (np.abs(seen[0]) == 1).mean((0, 2, 3))
    assert extreme[0] == 0, "the plan itself"
    assert extreme[-3:].min() > 0.5
    assert extreme[1:-3].max() < 0.5


@pytest.mark.parametrize(
    ("behaviour", "task"), [(SamplingMpc(), "mw-reach"), (ScriptedExpert(), "cartpole-balance")]
)
def test_a_behaviour_says_which_task_it_does_not_suit(
    behaviour: SamplingMpc | ScriptedExpert, task: str
) -> None:
    assert not behaviour.suits(get_task(task))
    with pytest.raises(BehaviourError, match=task):
        behaviour.collect(get_task(task), 1, 0)
