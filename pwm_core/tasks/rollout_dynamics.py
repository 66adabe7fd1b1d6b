# SPDX-License-Identifier: Apache-2.0
"""``mujoco.rollout`` over many candidate plans on C++ threads, with the task's reward."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Protocol

import mujoco
import numpy as np
from mujoco import rollout

from pwm_core.layout import ActionLayout
from pwm_core.tasks.readings import Readings, Reward
from pwm_core.tasks.task import STATE, SingleEnvironment

DRAWN = ("geom_pos", "geom_size", "site_pos", "site_size", "dof_damping")
"""Fields of the model that an episode may set: targets, their sizes, a joint's damping."""


class Body(Protocol):
    """What planning needs to know of a body."""

    @property
    def action(self) -> ActionLayout:
        """Meaning of the model's controls, all of them."""
        ...

    @property
    def simulator_step(self) -> float:
        """Seconds per simulator step; a decision is an environment's ``substeps`` of them."""
        ...

    def compile(self) -> mujoco.MjModel:
        """Return the model with the sensors that rewards read."""
        ...


class RolloutDynamics:
    """The true dynamics of a few environments of one body, or coarser ones.

    MuJoCo's sensors of a row belong to the state before that row's step, so the sensors of a state
    are read one simulator step later, and every plan is simulated one simulator step further.
    """

    def __init__(
        self,
        body: Body,
        reward: Reward,
        environments: Sequence[SingleEnvironment],
        threads: int,
        coarseness: int = 1,
    ) -> None:
        model = body.compile()
        steps = round(body.simulator_step / model.opt.timestep)
        if steps % coarseness:
            raise ValueError(
                f"{steps} steps of {model.opt.timestep:g} s cannot be simulated {coarseness} at a "
                "time: the coarseness must divide their number"
            )
        model.opt.timestep *= coarseness
        self._environments = environments
        self._models = [copy.copy(model) for _ in environments]
        self._data = [mujoco.MjData(model) for _ in range(threads)]
        self._pool = rollout.Rollout(nthread=threads if threads > 1 else 0)
        self._action, self._reward = body.action, reward
        self._repeats = environments[0].substeps
        self._per_repeat = steps // coarseness

    def rollout(self, state: np.ndarray, action: np.ndarray) -> np.ndarray:
        """Return rewards ``[E, N, T]`` of decisions ``[E, N, T, A]`` from states ``[E, S]``."""
        environments, plans, decisions, size = action.shape
        self._take_what_episodes_drew()
        units = self._action.to_units(action.reshape(-1, decisions, size))
        control = np.repeat(units, self._repeats * self._per_repeat, axis=1)
        control = np.concatenate([control, control[:, -1:]], axis=1)
        states, sensors = self._pool.rollout(
            [model for model in self._models for _ in range(plans)],
            self._data,
            np.repeat(self._part(state, mujoco.mjtState.mjSTATE_FULLPHYSICS), plans, axis=0),
            control,
            initial_warmstart=np.repeat(
                self._part(state, mujoco.mjtState.mjSTATE_WARMSTART), plans, axis=0
            ),
        )
        reward = self._reward(self._readings(states, control, sensors))
        return reward.reshape(environments, plans, decisions, self._repeats).sum(axis=-1)

    def _part(self, state: np.ndarray, part: mujoco.mjtState) -> np.ndarray:
        """Return ``part`` of the full states ``[E, S]``."""
        model = self._models[0]
        found = np.empty((len(state), mujoco.mj_stateSize(model, part)))
        for source, target in zip(state, found, strict=True):
            mujoco.mj_extractState(model, source, STATE, target, part)
        return found

    def _take_what_episodes_drew(self) -> None:
        for mine, environment in zip(self._models, self._environments, strict=True):
            for field in DRAWN:
                getattr(mine, field)[:] = getattr(environment.model, field)

    def _readings(self, states: np.ndarray, control: np.ndarray, sensors: np.ndarray) -> Readings:
        """Return the readings at the end of every repeat, of all plans in one row."""
        after = slice(self._per_repeat, None, self._per_repeat)
        before = slice(self._per_repeat - 1, -1, self._per_repeat)
        model = self._models[0]
        flat = states[:, before].reshape(-1, states.shape[-1])
        return Readings(
            model,
            flat[:, 1 : 1 + model.nq],
            flat[:, 1 + model.nq : 1 + model.nq + model.nv],
            control[:, before].reshape(-1, model.nu),
            sensors[:, after].reshape(len(flat), model.nsensordata),
        )
