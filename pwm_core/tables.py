# SPDX-License-Identifier: Apache-2.0
"""Tables for people and, with ``--json``, for programs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from rich.console import Console
from rich.table import Table

NAME = 40
"""Characters of a name that is not cut off."""


def print_table(title: str, rows: Sequence[Mapping[str, Any]], as_json: bool) -> None:
    """Print ``rows``; columns are the keys of the first row, floats with four digits.

    The first one names the row: others give way where there is no room for all, unless its names
    are longer than ``NAME``.
    """
    if as_json:
        print(json.dumps(list(rows), indent=1))
        return
    table = Table(title=title, title_justify="left")
    for place, (name, value) in enumerate(rows[0].items()):
        justify: Literal["left", "right"] = "left" if isinstance(value, str) else "right"
        names_row = place == 0 and all(len(_cell(row[name])) <= NAME for row in rows)
        table.add_column(name, justify=justify, no_wrap=names_row)
    for row in rows:
        table.add_row(*(_cell(value) for value in row.values()))
    Console(width=None if Console().is_terminal else 120).print(table)


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
