# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from pathlib import Path

import pytest

from pwm_bringup.session import Segment, write_json


def test_a_segment_is_read_from_text() -> None:
    text = "policy=up,seconds=2.5,task=cartpole-swingup,seed=3,blend=0.1,label=the end"
    assert Segment.parse(text) == Segment("up", 2.5, "cartpole-swingup", 3, 0.1, "the end")
    assert Segment.parse("seconds=1,policy=up") == Segment("up", 1.0)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "policy=up",
        "seconds=3",
        "policy=up,seconds=x",
        "policy=up,seconds=0",
        "policy=up,seconds=1,a=b",
    ],
)
def test_a_bad_segment_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        Segment.parse(text)


def test_a_record_is_written_whole(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "record.json"
    write_json(path, {"value": 1})
    write_json(path, {"value": 2})
    assert json.loads(path.read_text()) == {"value": 2}
    assert list(path.parent.iterdir()) == [path]


def test_a_record_that_is_no_json_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    write_json(path, {"value": 1})
    with pytest.raises(ValueError):
        write_json(path, {"value": float("nan")})
    assert json.loads(path.read_text()) == {"value": 1}
