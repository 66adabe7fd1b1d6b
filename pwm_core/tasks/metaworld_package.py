# SPDX-License-Identifier: Apache-2.0
"""The Python package ``metaworld``, imported only when a world or an expert is made."""

from __future__ import annotations

import importlib
import importlib.util
import warnings
from types import ModuleType

from pwm_core.errors import PwmError


class MetaWorldMissingError(PwmError, ImportError):
    """The package is not installed; the message says how to install it."""


def import_metaworld(module: str) -> ModuleType:
    """Import ``metaworld.<module>``; ``MetaWorldMissingError`` when the package is not there."""
    if importlib.util.find_spec("metaworld") is None:
        raise MetaWorldMissingError(
            "the Python package metaworld is not installed, and mw-… tasks need it for a single "
            "world and for scripted experts: run `make setup`, or `pip install --no-deps "
            "metaworld==3.1.1` (its own pin of mujoco is older than what the other suites need)"
        )
    with warnings.catch_warnings():  # on a machine without a display glfw warns in every process
        warnings.filterwarnings("ignore", module="glfw")
        return importlib.import_module(f"metaworld.{module}")
