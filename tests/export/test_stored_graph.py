# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import base64
import hashlib

import pytest

from pwm_export.monitor import PIECE, stored_graph

GRAPH = bytes(range(256)) * (PIECE // 128) + b"end"
"""More than one piece, with a rest and padding."""
RECORD = {"sha256": hashlib.sha256(GRAPH).hexdigest()}
TEXT = base64.b64encode(GRAPH).decode()


def test_a_graph_of_many_pieces_comes_back() -> None:
    assert len(TEXT) > 2 * PIECE
    assert stored_graph({"pwm_monitor": TEXT}, RECORD) == GRAPH


@pytest.mark.parametrize(
    "damaged",
    [
        TEXT[:-1] + "!",
        TEXT[: PIECE + 5] + "\n" + TEXT[PIECE + 5 :],
        TEXT[: PIECE - 4] + "AA==" + TEXT[PIECE:],
        TEXT[:-PIECE],
        TEXT + TEXT[:4],
        "",
    ],
)
def test_damage_anywhere_is_found(damaged: str) -> None:
    with pytest.raises(ValueError, match="its graph is damaged"):
        stored_graph({"pwm_monitor": damaged}, RECORD)
