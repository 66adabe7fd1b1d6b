# SPDX-License-Identifier: Apache-2.0
"""Pictures of a model's cameras without a display. No ROS."""

from __future__ import annotations

import importlib
import math
import os

import mujoco
import numpy as np

from pwm_core.rendering import find_renderer

MAX_GEOMS = 10_000


def require_renderer() -> str:
    """Return the OpenGL backend that draws here, and prepare this process for it.

    Raises ``ValueError`` when there is none.
    """
    backend = find_renderer()
    if backend is None:
        raise ValueError(
            "cameras: neither EGL nor OSMesa draws on this machine; install one (libegl1 and a "
            "driver, or libosmesa6), or start without cameras"
        )
    os.environ["PYOPENGL_PLATFORM"] = backend
    return backend


def camera_named(model: mujoco.MjModel, name: str) -> int:
    """Return the camera's index; ``ValueError`` with the names there are otherwise."""
    index = mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_CAMERA, name)
    if index < 0:
        known = ", ".join(model.camera(i).name for i in range(model.ncam)) or "none"
        raise ValueError(f"cameras: the model has no camera {name!r}: its own are {known}")
    return index


def focal_length(model: mujoco.MjModel, camera: int, height: int) -> float:
    """Return the focal length in pixels of a picture ``height`` pixels high."""
    return height / 2 / math.tan(math.radians(float(model.cam_fovy[camera])) / 2)


class Offscreen:
    """Draws one model; made, used and freed on the same thread."""

    def __init__(self, backend: str, model: mujoco.MjModel, width: int, height: int) -> None:
        view = model.vis.global_
        view.offwidth, view.offheight = max(view.offwidth, width), max(view.offheight, height)
        self._gl = importlib.import_module(f"mujoco.{backend}").GLContext(width, height)
        self._gl.make_current()
        self._context = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_100.value)
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN.value, self._context)
        self._scene = mujoco.MjvScene(model, MAX_GEOMS)
        self._option = mujoco.MjvOption()
        self._camera = mujoco.MjvCamera()
        self._camera.type = mujoco.mjtCamera.mjCAMERA_FIXED
        self._rectangle = mujoco.MjrRect(0, 0, width, height)
        self._model = model

    def look(self, data: mujoco.MjData, camera: int) -> None:
        """Take down what ``camera`` sees; only this needs the simulation to stand still."""
        self._camera.fixedcamid = camera
        everything = mujoco.mjtCatBit.mjCAT_ALL.value
        mujoco.mjv_updateScene(
            self._model, data, self._option, None, self._camera, everything, self._scene
        )

    def draw(self) -> np.ndarray:
        """Return what was looked at, ``[height, width, 3]`` uint8, the top row first."""
        picture = np.empty((self._rectangle.height, self._rectangle.width, 3), np.uint8)
        mujoco.mjr_render(self._rectangle, self._scene, self._context)
        mujoco.mjr_readPixels(picture, None, self._rectangle, self._context)
        return picture[::-1]

    def free(self) -> None:
        """Give back what the driver holds."""
        self._context.free()
        self._gl.free()
