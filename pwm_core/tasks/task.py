# SPDX-License-Identifier: Apache-2.0
"""What the rest of the core knows of a simulator: a task, its layouts and its constructors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import gymnasium
import mujoco
import numpy as np

from pwm_core.layout import ActionLayout, ObservationLayout

STATE = mujoco.mjtState.mjSTATE_INTEGRATION
"""Everything that the next simulator step depends on, the constraint solver's start included."""


class SingleEnvironment(gymnasium.Env):
    """One world that exposes its MuJoCo model, for the ROS bridge, evaluation and video.

    Actions are in ``[-1, 1]``; ``step`` is ``substeps`` calls of ``substep`` with rewards summed.
    Where the task reports success, ``step``'s info holds ``success``, a bool.
    """

    model: mujoco.MjModel
    data: mujoco.MjData
    substeps: int
    camera: int | str = 0
    """The camera for films; a model without cameras is seen by MuJoCo's free one."""
    terminated: bool = False
    """Whether the last ``substep`` ended the episode in a terminal state."""

    def substep(self, action: np.ndarray) -> float:
        """Advance one control step of the simulator with ``action [A]``; return its reward."""
        raise NotImplementedError

    def observation(self) -> np.ndarray:
        """Return the observation ``[O]``, float32, of the present state."""
        raise NotImplementedError

    def state(self) -> np.ndarray:
        """Return the simulator's full state ``[S]``, as the task's ``TrueDynamics`` take it."""
        state = np.empty(mujoco.mj_stateSize(self.model, STATE))
        mujoco.mj_getState(self.model, self.data, state, STATE)
        return state

    def restore(self, state: np.ndarray) -> None:
        """Put the simulator in a ``state`` that it returned before, in the same episode."""
        mujoco.mj_setState(self.model, self.data, state, STATE)
        warmstart = self.data.qacc_warmstart.copy()
        mujoco.mj_forward(self.model, self.data)
        self.data.qacc_warmstart[:] = warmstart


class VectorStep(NamedTuple):
    """What one decision of ``N`` worlds led to."""

    observation: np.ndarray
    """``[N, O]`` float32."""
    reward: np.ndarray
    """``[N]``"""
    terminated: np.ndarray
    """``[N]`` bool: the episode ended in a terminal state."""
    truncated: np.ndarray
    """``[N]`` bool: the episode ran out of time."""
    success: np.ndarray
    """``[N]`` bool; always false where the task reports none."""


class VectorEnvironment(Protocol):
    """Many worlds at once.

    A world whose episode has ended stays ended until ``reset``: what its later steps return has no
    meaning, and callers must not read it.
    """

    num_envs: int

    def reset(self) -> np.ndarray:
        """Start new episodes; return observations ``[N, O]`` float32."""
        ...

    def step(self, action: np.ndarray) -> VectorStep:
        """Apply ``action [N, A]`` in ``[-1, 1]``."""
        ...


class TrueDynamics(Protocol):
    """The simulators of a few environments as functions of their state, for planning.

    Each environment keeps what its episode drew at random besides the state (where the target is).
    """

    def rollout(self, state: np.ndarray, action: np.ndarray) -> np.ndarray:
        """Return rewards ``[E, N, T]`` of decisions ``[E, N, T, A]`` from full states ``[E, S]``.

        Row ``e`` is simulated as environment ``e`` is.
        """
        ...


class MakeDynamics(Protocol):
    """How a task makes its true dynamics."""

    def __call__(
        self, environments: Sequence[SingleEnvironment], threads: int, coarseness: int = 1
    ) -> TrueDynamics:
        """Return the dynamics of ``environments``, simulated on so many ``threads``.

        ``coarseness`` simulator steps are made as one that is as long as they are: that much
        faster, and no longer exact. ``ValueError`` where the simulator's steps of a decision cannot
        be put together so.
        """
        ...


class Expert(Protocol):
    """A controller written by hand for one task; it has no memory."""

    def __call__(self, observation: np.ndarray) -> np.ndarray:
        """Return actions ``[N, A]`` in ``[-1, 1]`` for observations ``[N, O]``."""
        ...


@dataclass(frozen=True)
class Task:
    """A control task: a body, a reward, a rate and an episode length."""

    name: str
    """Published name, e.g. ``cartpole-swingup``."""
    suite: str
    """Suite it belongs to."""
    body: str
    """Tasks of one body share physics model and layouts."""
    observation: ObservationLayout
    """Meaning of the observation vector."""
    action: ActionLayout
    """Meaning of the action vector; the core works in ``[-1, 1]``."""
    control_step: float
    """Seconds per decision."""
    episode_steps: int
    """Decisions per episode."""
    make_single: Callable[[int], SingleEnvironment]
    """``make_single(seed)``: one environment."""
    make_vector: Callable[[int, int], VectorEnvironment]
    """``make_vector(n, seed)``: many environments."""
    make_dynamics: MakeDynamics | None = None
    """``make_dynamics(environments, threads)``: the true dynamics of these, for planning."""
    episodic: bool = False
    """Whether an episode can end in a terminal state before ``episode_steps``."""
    reports_success: bool = False
    """Whether the task says when it is solved (Meta-World)."""
    make_expert: Callable[[], Expert] | None = None
    """``make_expert()``: a scripted controller of the task (Meta-World)."""

    @property
    def discount(self) -> float:
        """Discount per decision."""
        return discount(self.episode_steps)


def discount(episode_steps: int) -> float:
    """Return the discount per decision for episodes of this length (TD-MPC2's heuristic)."""
    fifth = episode_steps / 5
    return float(np.clip((fifth - 1) / fifth, 0.95, 0.995))
