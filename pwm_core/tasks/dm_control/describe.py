# SPDX-License-Identifier: Apache-2.0
"""DM Control tasks as published for mt30: repeat 2, 500 decisions."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from pwm_core.tasks.dm_control.body import Body
from pwm_core.tasks.dm_control.environment import (
    ACTION_REPEAT,
    EPISODE_STEPS,
    DmControlEnvironment,
    Load,
    load_custom,
    load_published,
)
from pwm_core.tasks.envpool import EnvPoolEnvironment, has_envpool
from pwm_core.tasks.readings import Reward
from pwm_core.tasks.rollout_dynamics import RolloutDynamics
from pwm_core.tasks.sequential import SequentialVector
from pwm_core.tasks.task import Task, VectorEnvironment


def published(body: Body, name: str, reward: Reward, envpool_id: str | None) -> Task:
    """Describe a task of dm_control's suite; ``reward`` is its own, for many states at once.

    ``envpool_id`` is None where EnvPool's world is another one than dm_control's.
    """
    load = partial(load_published, body, name.split("-", 1)[1].replace("-", "_"))
    make_vector = (
        partial(_make_sequence, body, load)
        if envpool_id is None or not has_envpool()
        else partial(_make_pool, body, envpool_id)
    )
    return _task(body, name, reward, load, make_vector)


def custom(body: Body, name: str, reward: Reward, make_task: Callable[[Any, int], Any]) -> Task:
    """Describe a task of TD-MPC2's: ``make_task(domain's module, seed)`` with another reward."""
    load = partial(load_custom, body, make_task, reward)
    return _task(body, name, reward, load, partial(_make_sequence, body, load))


def _task(
    body: Body,
    name: str,
    reward: Reward,
    load: Load,
    make_vector: Callable[[int, int], VectorEnvironment],
) -> Task:
    return Task(
        name=name,
        suite="dm_control",
        body=body.name,
        observation=body.observation,
        action=body.action,
        control_step=body.simulator_step * ACTION_REPEAT,
        episode_steps=EPISODE_STEPS,
        make_single=partial(DmControlEnvironment, load, body.action),
        make_vector=make_vector,
        make_dynamics=partial(RolloutDynamics, body, reward),
    )


def _make_sequence(body: Body, load: Load, num_envs: int, seed: int) -> VectorEnvironment:
    return SequentialVector(
        [DmControlEnvironment(load, body.action, seed + i) for i in range(num_envs)]
    )


def _make_pool(body: Body, envpool_id: str, num_envs: int, seed: int) -> VectorEnvironment:
    return EnvPoolEnvironment(
        envpool_id,
        body.action.size,
        num_envs,
        seed,
        episode_steps=EPISODE_STEPS,
        action_repeat=ACTION_REPEAT,
        observation_key=body.pool_keys,
    )
