# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest

from pwm_core.evaluation.published import (
    UnknownPublicationError,
    normalised,
    published,
    suite_of,
)


def test_every_task_of_both_suites_is_there() -> None:
    assert len(published("mt30")) == 30
    assert len(published("mt80")) == 80
    assert published("mt30").keys() <= published("mt80").keys()
    assert published("mt30")["cartpole-swingup"].episode_return == 896.6
    with pytest.raises(UnknownPublicationError, match="'mt50'"):
        published("mt50")


def test_scale() -> None:
    assert normalised("cartpole-swingup", 500.0, None) == 0.5
    assert normalised("mw-hammer", 434.9, 0.9) == 0.9
    assert normalised("mw-hammer", 434.9, None) is None
    assert normalised("Ant-v5", 5000.0, None) is None
    assert published("mt80")["mw-hammer"].score == 0.9
    assert published("mt80")["cartpole-balance"].score == 0.999


def test_suite_of() -> None:
    assert suite_of(["cartpole-swingup", "Ant-v5"]) == "mt30"
    assert suite_of(["cartpole-swingup", "mw-hammer"]) == "mt80"
    assert suite_of(["Ant-v5"]) is None
