# SPDX-License-Identifier: Apache-2.0
"""``python -m benchmarks.precision`` runs on a policy; no figure is judged here."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import precision


def test_a_row_per_precision(
    tiny_policy: Path, tiny_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = [str(tiny_policy), "--data", str(tiny_data), "--episodes", "2", "--json"]
    assert precision.main(asked) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["precision"] for row in rows] == ["float32", "float16", "int8"]
    errors = [row["mean error, % of range"] for row in rows]
    assert errors == sorted(errors)
    assert all(row["return"] > 0 and row["deviation"] > 0 for row in rows)
