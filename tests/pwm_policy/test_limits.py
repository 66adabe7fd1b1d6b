# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from pwm_core.layout import ActionChannel, ActionLayout
from pwm_policy.limits import LimitsError, narrowed, require_rates

LAYOUT = ActionLayout(
    (
        ActionChannel("lift", "elbow", "position", "rad", -2.0, 2.0, 0.0, rate=3.0),
        ActionChannel("turn", "wrist", "effort", "N·m", -1.0, 1.0, 0.5),
    )
)


@pytest.fixture
def limits(tmp_path: Path):
    def write(text: str) -> Path:
        path = tmp_path / "limits.yaml"
        path.write_text(text)
        return path

    return write


def test_what_is_left_out_stays_as_the_contract_has_it(limits) -> None:
    lift, turn = narrowed(LAYOUT, limits("lift: {low: -1, rate: 2.5}\nturn: {rate: 8}")).channels
    assert (lift.low, lift.high, lift.rate) == (-1, 2.0, 2.5)
    assert (turn.low, turn.high, turn.rate) == (-1.0, 1.0, 8)


def test_an_equal_limit_is_no_widening(limits) -> None:
    assert narrowed(LAYOUT, limits("lift: {low: -2.0, high: 2.0, rate: 3.0}")) == LAYOUT


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("lift: {low: -2.5}", "lift: low -2.5 is below the contract's -2.0"),
        ("lift: {high: 9}", "lift: high 9 is above the contract's 2.0"),
        ("lift: {rate: 3.5}", "lift: rate 3.5 is above the contract's 3.0"),
        ("turn: {rate: 0}", "turn: rate 0 is not above 0"),
        ("turn: {high: 0.4}", "turn: -1.0 to 0.4 leaves out the safe action 0.5"),
        ("turn: {low: 0.5, high: 0.5}", "turn: low 0.5 is not below high 0.5"),
        ("lift: {low: .nan}", "lift: low is nan, expected a finite number"),
        ("lift: {rate: .inf}", "lift: rate is inf, expected a finite number"),
        ("lift: {low: true}", "lift: low is True, expected a finite number"),
        ("lift: {high: '1'}", "lift: high is '1', expected a finite number"),
        ("lift: {speed: 1}", "lift: speed is none of low, high, rate"),
        ("lift: 1", "lift: is 1, expected any of low, high, rate"),
        ("jaw: {low: 0}", "jaw is none of lift, turn"),
        ("- lift", "has no actuators"),
        ("", "has no actuators"),
        ("lift: {", "is not YAML"),
    ],
)
def test_what_does_not_narrow_is_refused(limits, text: str, reason: str) -> None:
    with pytest.raises(LimitsError) as refused:
        narrowed(LAYOUT, limits(text))
    assert reason in str(refused.value)
    assert "limits.yaml" in str(refused.value)


def test_every_reason_is_given_at_once(limits) -> None:
    with pytest.raises(LimitsError, match=r"lift: low.*; lift: high.*; turn: rate"):
        narrowed(LAYOUT, limits("lift: {low: -3, high: 3}\nturn: {rate: -1}"))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(LimitsError, match=r"none\.yaml cannot be read: No such file"):
        narrowed(LAYOUT, tmp_path / "none.yaml")


def test_a_position_needs_a_rate_from_contract_or_file(limits) -> None:
    rateless = ActionLayout((replace(LAYOUT.channels[0], rate=None), LAYOUT.channels[1]))
    with pytest.raises(LimitsError, match=r"lift command positions without a rate.*limits_file"):
        require_rates(rateless)
    require_rates(narrowed(rateless, limits("lift: {rate: 2.0}")))
    require_rates(LAYOUT)
