# SPDX-License-Identifier: Apache-2.0
"""Other formats of offline data, a module each, loaded when they are asked for."""

from __future__ import annotations

import importlib
from types import ModuleType

from pwm_core.data.formats.source import FormatError


def load_format(name: str) -> ModuleType:
    """Return the module of a format; ``FormatError`` when its libraries are not installed."""
    try:
        return importlib.import_module(f"pwm_core.data.formats.{name}")
    except ModuleNotFoundError as error:
        raise FormatError(
            f"format {name} needs {error.name}: run make setup, or pip install '.[data]' in a clone"
        ) from error
