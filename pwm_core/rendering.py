# SPDX-License-Identifier: Apache-2.0
"""Pictures of a task without a display: choose a GL backend that works, draw recorded positions.

MuJoCo and dm_control read ``MUJOCO_GL`` once, when they are first imported, and a broken driver
can take the whole process down. So backends are tried in processes of their own, and pictures are
drawn in worker processes started with :func:`use_renderer`, never in the caller's process.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import mujoco

    from pwm_core.evaluation.episodes import Act
    from pwm_core.tasks import SingleEnvironment, Task

BACKENDS = ("egl", "osmesa")
PROBE_SECONDS = 60
PROBE = """
import mujoco
model = mujoco.MjModel.from_xml_string(
    "<mujoco><worldbody><light pos='0 0 3'/><geom size='1' rgba='1 1 1 1'/></worldbody></mujoco>"
)
renderer = mujoco.Renderer(model, 32, 32)
data = mujoco.MjData(model)
mujoco.mj_forward(model, data)
renderer.update_scene(data)
raise SystemExit(0 if renderer.render().max() > 0 else 1)
"""
"""Exits with 0 when a white ball is not black."""


@dataclass(frozen=True)
class Recording:
    """What is needed to draw a stretch of simulation again."""

    time: np.ndarray
    """``[T]`` seconds, ascending."""
    joints: tuple[str, ...]
    """``[J]`` hinge and slide joints; joints that are not named stay where the model puts them.
    None for an episode, which is drawn from the simulator's states instead."""
    positions: np.ndarray
    """``[T, J]`` m or rad."""
    task: Sequence[str]
    """``[T]`` task whose reward was given."""
    policy: Sequence[str]
    """``[T]`` name of the policy that acted."""
    reward: np.ndarray
    """``[T]`` reward of the decision that led here."""
    episode: Sequence[int]
    """``[T]`` changes at each reset."""

    @classmethod
    def from_frames(cls, frames: dict[str, Any]) -> Recording:
        """Read ``frames`` of a session's JSON record; ``ValueError`` when it holds no positions."""
        if not frames["joints"] or not frames["time"]:
            raise ValueError("the session's record holds no joint positions")
        # The same moment can be reported twice around a reset; the later report counts.
        last = {time: row for row, time in enumerate(frames["time"])}
        rows = [row for _, row in sorted(last.items())]

        def column(name: str) -> list[Any]:
            return [frames[name][row] for row in rows]

        return cls(
            np.array(column("time"), float),
            tuple(frames["joints"]),
            np.array(column("positions"), float),
            column("task"),
            column("policy"),
            np.array(column("reward"), float),
            column("episode"),
        )

    def until(self, seconds: float) -> Recording:
        """Return what lies up to ``seconds`` after the start."""
        count = int(np.searchsorted(self.time - self.time[0], seconds + 1e-9, side="right"))
        return Recording(
            self.time[:count],
            self.joints,
            self.positions[:count],
            self.task[:count],
            self.policy[:count],
            self.reward[:count],
            self.episode[:count],
        )

    def changes(self, column: Sequence[Any]) -> list[int]:
        """Return the indices at which ``column [T]`` differs from the moment before."""
        return [i for i in range(1, len(column)) if column[i] != column[i - 1]]

    def at(self, rate: float) -> list[int]:
        """Return the moment that each picture of a film shows, ``rate`` pictures per second."""
        moments = np.arange(self.time[0], self.time[-1], 1 / rate)
        return (np.searchsorted(self.time, moments + 1e-9, side="right") - 1).tolist()


def find_renderer() -> str | None:
    """Return the first ``MUJOCO_GL`` backend that really draws here, or ``None``.

    One that the environment names is tried before EGL and OSMesa.
    """
    named = os.environ.get("MUJOCO_GL", "")
    candidates = dict.fromkeys([named, *BACKENDS] if named else BACKENDS)
    return next((backend for backend in candidates if _draws(backend)), None)


def _draws(backend: str) -> bool:
    try:
        done = subprocess.run(
            [sys.executable, "-c", PROBE],
            env=_environment(backend),
            capture_output=True,
            timeout=PROBE_SECONDS,
        )
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0


def _environment(backend: str) -> dict[str, str]:
    return os.environ | {"MUJOCO_GL": backend, "PYOPENGL_PLATFORM": backend}


def use_renderer(backend: str) -> None:
    """Make this (fresh worker) process draw with ``backend``; before MuJoCo is imported."""
    os.environ.update(_environment(backend))


def render_positions(
    environment: SingleEnvironment,
    joints: Sequence[str],
    positions: np.ndarray,
    width: int,
    height: int,
) -> Iterator[np.ndarray]:
    """Yield a picture ``[height, width, 3]`` uint8 per row of ``positions [N, J]``.

    ``KeyError`` for a joint that the model does not have.
    """
    addresses = [int(environment.model.joint(name).qposadr[0]) for name in joints]

    def place(data: mujoco.MjData, row: np.ndarray) -> None:
        data.qpos[addresses] = row

    yield from _render(environment, positions, place, width, height)


def render_states(
    environment: SingleEnvironment, states: np.ndarray, width: int, height: int
) -> Iterator[np.ndarray]:
    """Yield a picture ``[height, width, 3]`` uint8 per row of ``states [N, S]``.

    ``environment`` must still be in the episode that they come from: what its reset drew at random
    (where the target is) may lie in its model.
    """
    import mujoco

    from pwm_core.tasks.task import STATE

    def place(data: mujoco.MjData, row: np.ndarray) -> None:
        mujoco.mj_setState(environment.model, data, row, STATE)

    yield from _render(environment, states, place, width, height)


def _render(
    environment: SingleEnvironment,
    rows: np.ndarray,
    place: Callable[[mujoco.MjData, np.ndarray], None],
    width: int,
    height: int,
) -> Iterator[np.ndarray]:
    import mujoco

    model = environment.model
    model.vis.global_.offwidth = max(model.vis.global_.offwidth, width)
    model.vis.global_.offheight = max(model.vis.global_.offheight, height)
    data = mujoco.MjData(model)
    camera = model.camera(environment.camera).id if model.ncam else -1
    with mujoco.Renderer(model, height, width) as renderer:
        for row in rows:
            place(data, row)
            mujoco.mj_forward(model, data)
            renderer.update_scene(data, camera=camera)
            # Four fifths of a software renderer's time go into these two.
            renderer.scene.flags[mujoco.mjtRndFlag.mjRND_SHADOW] = 0
            renderer.scene.flags[mujoco.mjtRndFlag.mjRND_REFLECTION] = 0
            picture = renderer.render()
            # Meta-World's cameras hang upside down: their own upward axis points to the floor.
            hanging = model.ncam and data.cam_xmat[camera].reshape(3, 3)[2, 1] < 0
            yield picture[::-1, ::-1] if hanging else picture


def record_episode(
    environment: SingleEnvironment, task: Task, act: Act, policy: str, seed: int
) -> tuple[Recording, np.ndarray]:
    """Run one real episode from ``reset(seed)``; return it and the simulator's states ``[T, S]``.

    :func:`render_states` draws the states as long as ``environment`` is not reset.
    """
    observation, _ = environment.reset(seed=seed)
    states, rewards, ended = [_state(environment)], [0.0], False
    while not ended and len(rewards) <= task.episode_steps:
        observation, reward, terminated, truncated, _ = environment.step(act(observation[None])[0])
        states.append(_state(environment))
        rewards.append(float(reward))
        ended = terminated or truncated
    count = len(rewards)
    recording = Recording(
        np.arange(count) * task.control_step,
        (),
        np.empty((count, 0)),
        [task.name] * count,
        [policy] * count,
        np.array(rewards),
        [0] * count,
    )
    return recording, np.stack(states)


def _state(environment: SingleEnvironment) -> np.ndarray:
    """Return all that moves, mocap bodies included."""
    import mujoco

    from pwm_core.tasks.task import STATE

    state = np.empty(mujoco.mj_stateSize(environment.model, STATE))
    mujoco.mj_getState(environment.model, environment.data, state, STATE)
    return state
