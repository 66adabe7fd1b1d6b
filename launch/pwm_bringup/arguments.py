# SPDX-License-Identifier: Apache-2.0
"""A dataclass as the arguments of a launch file: names, defaults and descriptions are its fields'.

The command line reads the same fields (tyro), so that `pwm sim` and `sim.launch.py` cannot differ.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

T = TypeVar("T")


@dataclass(frozen=True)
class Argument:
    """One launch argument; launch knows nothing but text."""

    name: str
    """Name of the field."""
    description: str
    """Docstring of the field."""
    default: str | None
    """Default as text; None: it has to be given."""
    choices: tuple[str, ...] | None
    """What it may be; None: anything."""


def arguments_of(kind: type) -> list[Argument]:
    """Return an argument per field of a dataclass, in order."""
    hints, described = get_type_hints(kind), descriptions(kind)
    return [
        Argument(
            name=field.name,
            description=described[field.name],
            default=None if field.default is MISSING else _as_text(field.default),
            choices=_choices(hints[field.name]),
        )
        for field in fields(kind)
    ]


def from_texts(kind: type[T], texts: Mapping[str, str]) -> T:
    """Make a dataclass from the texts of its arguments.

    Raises ``ValueError`` that names the argument when a text does not fit its field's type.
    """
    hints = get_type_hints(kind)
    return kind(**{name: _from_text(name, text, hints[name]) for name, text in texts.items()})


def descriptions(kind: type) -> dict[str, str]:
    """Return the docstrings below the fields of a dataclass and its bases, on one line each."""
    found: dict[str, str] = {}
    for base in reversed(kind.__mro__[:-1]):
        body = ast.parse(textwrap.dedent(inspect.getsource(base))).body[0]
        assert isinstance(body, ast.ClassDef)
        for statement, following in zip(body.body, body.body[1:], strict=False):
            if not isinstance(statement, ast.AnnAssign) or not isinstance(following, ast.Expr):
                continue
            if isinstance(statement.target, ast.Name) and isinstance(following.value, ast.Constant):
                found[statement.target.id] = " ".join(str(following.value.value).split())
    return found


def _choices(hint: Any) -> tuple[str, ...] | None:
    if hint is bool:
        return ("true", "false")
    return get_args(hint) if get_origin(hint) is Literal else None


def _as_text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return ",".join(value)
    return "" if value is None else str(value)


def _from_text(name: str, text: str, hint: Any) -> Any:
    choices = _choices(hint)
    if choices is not None and text not in choices:
        raise ValueError(f"{name} is {text!r}, expected one of {', '.join(map(repr, choices))}")
    kinds = get_args(hint) or (hint,)
    if choices is not None:
        return text == "true" if hint is bool else text
    if get_origin(hint) is tuple:
        return tuple(word.strip() for word in text.split(",") if word.strip())
    if not text and type(None) in kinds:
        return None
    kind = next(kind for kind in (Path, float, str) if kind in kinds)
    try:
        return kind(text)
    except ValueError:
        raise ValueError(f"{name} is {text!r}, expected a number") from None
