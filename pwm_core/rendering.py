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
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import mujoco

    from pwm_core.evaluation.episodes import Act
    from pwm_core.tasks import Task

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
    """``[J]`` hinge and slide joints; joints that are not named stay where the model puts them."""
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


def render_states(
    model: mujoco.MjModel, joints: Sequence[str], positions: np.ndarray, width: int, height: int
) -> Iterator[np.ndarray]:
    """Yield a picture ``[height, width, 3]`` uint8, first camera, per row of ``positions [N, J]``.

    ``KeyError`` for a joint that the model does not have.
    """
    import mujoco

    data = mujoco.MjData(model)
    addresses = [int(model.joint(name).qposadr[0]) for name in joints]
    with mujoco.Renderer(model, height, width) as renderer:
        for row in positions:
            data.qpos[addresses] = row
            mujoco.mj_forward(model, data)
            renderer.update_scene(data, camera=0 if model.ncam else -1)
            # Four fifths of a software renderer's time go into these two.
            renderer.scene.flags[mujoco.mjtRndFlag.mjRND_SHADOW] = 0
            renderer.scene.flags[mujoco.mjtRndFlag.mjRND_REFLECTION] = 0
            yield renderer.render()


def record_episode(task: Task, act: Act, policy: str, seed: int) -> Recording:
    """Run one real episode from ``reset(seed)`` and return what :func:`render_states` needs."""
    import mujoco

    scalar = (int(mujoco.mjtJoint.mjJNT_HINGE), int(mujoco.mjtJoint.mjJNT_SLIDE))
    environment = task.make_single(seed)
    try:
        model = environment.model
        chosen = [i for i in range(model.njnt) if int(model.jnt_type[i]) in scalar]
        addresses = model.jnt_qposadr[chosen]
        observation, _ = environment.reset(seed=seed)
        positions, rewards, ended = [environment.data.qpos[addresses].copy()], [0.0], False
        while not ended and len(rewards) <= task.episode_steps:
            observation, reward, terminated, truncated, _ = environment.step(
                act(observation[None])[0]
            )
            positions.append(environment.data.qpos[addresses].copy())
            rewards.append(float(reward))
            ended = terminated or truncated
        count = len(rewards)
        return Recording(
            np.arange(count) * task.control_step,
            tuple(model.joint(i).name for i in chosen),
            np.stack(positions),
            [task.name] * count,
            [policy] * count,
            np.array(rewards),
            [0] * count,
        )
    finally:
        environment.close()
