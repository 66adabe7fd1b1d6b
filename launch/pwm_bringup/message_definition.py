# SPDX-License-Identifier: Apache-2.0
"""The text of a message type with all it refers to, as MCAP's ``ros2msg`` schemas hold it."""

from __future__ import annotations

import re
from pathlib import Path

from ament_index_python.packages import PackageNotFoundError, get_package_share_directory

from pwm_core.errors import PwmError

NUMBERS = {f"{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)}
PRIMITIVES = NUMBERS | {"bool", "byte", "char", "string", "wstring", "float32", "float64"}
FIELD = re.compile(
    r"^\s*([A-Za-z]\w*(?:/[A-Za-z]\w*)?)(?:<=\d+)?(?:\[[^\]]*\])?\s+\w", re.MULTILINE
)
SEPARATOR = "=" * 80


class DefinitionError(PwmError):
    """A message type is not installed."""


def full_text(message_type: str) -> str:
    """Return the definition of ``package/msg/Name`` followed by those it needs, each once.

    Raises :class:`DefinitionError` where the package or the type is not installed.
    """
    package, _, name = message_type.split("/")
    texts = {f"{package}/{name}": _text(package, name)}
    waiting = [*_references(package, texts[f"{package}/{name}"])]
    while waiting:
        reference = waiting.pop(0)
        if reference not in texts:
            package, name = reference.split("/")
            texts[reference] = _text(package, name)
            waiting += _references(package, texts[reference])
    main, *others = texts.items()
    return main[1] + "".join(f"\n{SEPARATOR}\nMSG: {name}\n{text}" for name, text in others)


def _references(package: str, text: str) -> list[str]:
    """Return the message types that fields of ``text`` have, as ``package/Name``."""
    types = [match for match in FIELD.findall(text) if match not in PRIMITIVES]
    return [name if "/" in name else f"{package}/{name}" for name in types]


def _text(package: str, name: str) -> str:
    try:
        folder = Path(get_package_share_directory(package))
        return (folder / "msg" / f"{name}.msg").read_text()
    except (PackageNotFoundError, OSError) as error:
        raise DefinitionError(
            f"message type {package}/msg/{name} is not installed: source the workspace that has it"
        ) from error
