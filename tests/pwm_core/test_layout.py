# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from pwm_core.layout import ActionChannel, ActionLayout, ObservationChannel, ObservationLayout
from pwm_core.tasks import get_task

OBSERVATION = ObservationLayout(
    (
        ObservationChannel("pole/cos", "1", "joint_states", "pole", "position", "cos", 2.0, 0.5),
        ObservationChannel("pole/velocity", "rad/s", "joint_states", "pole", "velocity"),
    )
)
ACTION = ActionLayout(
    (
        ActionChannel("hip", "hip", "effort", "N·m", low=-2.0, high=6.0, safe=0.0, gear=3.0),
        ActionChannel("knee", "knee", "position", "rad", low=0.0, high=0.5, safe=0.1),
    )
)
OBSERVATION_CHANGES = {
    "name": "pole/sin",
    "unit": "rad",
    "topic": "observation",
    "key": "cart",
    "field": "effort",
    "transform": "sin",
    "scale": 2.5,
    "offset": 0.25,
    "lag": 2,
}
ACTION_CHANGES = {
    "name": "ankle",
    "joint": "ankle",
    "interpretation": "velocity",
    "unit": "1",
    "low": -3.0,
    "high": 7.0,
    "safe": 1.0,
    "gear": -4.0,
    "offset": 0.5,
    "rate": 10.0,
}


def changed(layout, field: str, value):
    first = dataclasses.replace(layout.channels[0], **{field: value})
    return type(layout)((first, *layout.channels[1:]))


CASES = [(OBSERVATION, *item) for item in OBSERVATION_CHANGES.items()] + [
    (ACTION, *item) for item in ACTION_CHANGES.items()
]


def test_every_field_is_covered_by_the_cases() -> None:
    assert set(OBSERVATION_CHANGES) == {f.name for f in dataclasses.fields(ObservationChannel)}
    assert set(ACTION_CHANGES) == {f.name for f in dataclasses.fields(ActionChannel)}


@pytest.mark.parametrize(("layout", "field", "value"), CASES)
def test_any_field_changes_hash_and_is_named(layout, field: str, value) -> None:
    other = changed(layout, field, value)
    assert other.hash() != layout.hash()
    sentences = layout.difference(other)
    if field == "name":
        assert sentences == [
            f"{layout.names[0]} is missing",
            f"{value} is not expected",
        ]
    else:
        old = getattr(layout.channels[0], field)
        assert sentences == [f"{layout.names[0]}: {field} is {value!r}, expected {old!r}"]


def test_hash_is_a_contract_between_versions() -> None:
    """Bundles in the field carry it: a change of this figure orphans them all."""
    assert OBSERVATION.hash() == "f3907e901aa8d6e4"
    assert ACTION.hash() == "3f7121529b3a2280"


@pytest.mark.parametrize(
    ("task", "observation", "action"),
    [
        ("cartpole-swingup", "a41673d24bd2745d", "d5a60030bda9212b"),
        ("walker-walk", "b85d86174c03209d", "30c6c47a818a451b"),
        ("gym-hopper", "d0467a500273257b", "b1f3cb38e247a801"),
        ("mw-reach", "352ffb65dd634e47", "e7519213166f3ce6"),
        ("playground-go1-joystick-flat", "572f72d48feb8b00", "21d0d44b8d637d66"),
    ],
)
def test_hashes_of_bundles_in_the_field(task: str, observation: str, action: str) -> None:
    found = get_task(task)
    assert (found.observation.hash(), found.action.hash()) == (observation, action)


def test_later_fields_are_written_only_where_they_say_something() -> None:
    assert "lag" not in OBSERVATION.to_json()[0]
    assert not {"rate", "offset"} & set(ACTION.to_json()[0])
    lagged = changed(OBSERVATION, "lag", 1).to_json()
    assert [channel.get("lag") for channel in lagged] == [1, None]
    limited = changed(ACTION, "rate", 2.5)
    assert ActionLayout.from_json(limited.to_json()) == limited


@pytest.mark.parametrize("layout", [OBSERVATION, ACTION])
def test_order_matters(layout) -> None:
    other = type(layout)(layout.channels[::-1])
    assert other.hash() != layout.hash()
    assert layout.difference(other) == [
        f"order is {list(other.names)}, expected {list(layout.names)}"
    ]


@pytest.mark.parametrize("layout", [OBSERVATION, ACTION])
def test_json_round_trip(layout) -> None:
    again = type(layout).from_json(json.loads(json.dumps(layout.to_json())))
    assert again == layout
    assert again.hash() == layout.hash()
    assert layout.difference(again) == []


def test_units_round_trip() -> None:
    np.testing.assert_allclose(ACTION.to_units(np.array([-1.0, -1.0])), [-2.0, 0.0])
    np.testing.assert_allclose(ACTION.to_units(np.array([1.0, 1.0])), [6.0, 0.5])
    np.testing.assert_allclose(ACTION.to_units(np.array([0.0, 0.5])), [2.0, 0.375])
    action = np.random.default_rng(0).uniform(-1, 1, (7, 3, 2))
    np.testing.assert_allclose(ACTION.to_normalised(ACTION.to_units(action)), action, atol=1e-6)
    for values, expected in (
        (ACTION.low, [-2, 0]),
        (ACTION.high, [6, 0.5]),
        (ACTION.safe, [0, 0.1]),
    ):
        assert values.dtype == np.float32
        np.testing.assert_allclose(values, expected)


@pytest.mark.parametrize(
    ("transform", "expected"), [("identity", 2.0), ("cos", np.cos(2.0)), ("sin", np.sin(2.0))]
)
def test_channel_reads_scale_transform_offset(transform: str, expected: float) -> None:
    channel = ObservationChannel("x", "1", "joint_states", "x", "position", transform, 3.0, -1.0)
    assert channel.read(2.0) == pytest.approx(3.0 * expected - 1.0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"transform": "tan"}, r"channel pole/cos: transform 'tan' is none of"),
        ({"topic": "joint_state"}, r"channel pole/cos: topic 'joint_state' is none of .*imu/data"),
        ({"field": "angle"}, "topic joint_states has no field 'angle', only position, velocity, e"),
        ({"topic": "imu/data"}, "topic imu/data has no field 'position', only orientation.w"),
        ({"scale": float("inf")}, "channel pole/cos: scale is inf, expected a finite number"),
        ({"offset": "1"}, "channel pole/cos: offset is '1', expected a finite number"),
        ({"lag": -1}, "channel pole/cos: lag is -1, expected decisions"),
        ({"lag": 1.0}, "channel pole/cos: lag is 1.0, expected decisions"),
    ],
)
def test_impossible_observation_channels(changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(OBSERVATION.channels[0], **changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"interpretation": "torque"}, "channel hip: interpretation 'torque' is none of"),
        ({"low": 7.0}, r"need low <= safe <= high and low < high, got 7.0, 0.0, 6.0"),
        ({"safe": 6.1}, "got -2.0, 6.1, 6.0"),
        ({"low": 0.0, "high": 0.0}, "got 0.0, 0.0, 0.0"),
        ({"safe": float("nan")}, "got -2.0, nan, 6.0"),
        ({"high": float("inf")}, "high is inf, expected a finite number"),
        ({"gear": 0.0}, "gear is 0: the command would move nothing"),
        ({"offset": float("nan")}, "offset is nan, expected a finite number"),
        ({"rate": 0.0}, "rate is 0.0, expected more than 0 per second"),
        ({"rate": True}, "rate is True, expected a finite number"),
    ],
)
def test_impossible_action_channels(changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(ACTION.channels[0], **changes)


def test_empty_and_repeating_layouts() -> None:
    with pytest.raises(ValueError, match="at least one channel"):
        ObservationLayout(())
    with pytest.raises(ValueError, match=r"names repeat: \['hip'\]"):
        ActionLayout((ACTION.channels[0], ACTION.channels[0]))


@pytest.mark.parametrize(
    ("channel", "message"),
    [
        ({**ACTION.to_json()[0], "colour": "red"}, "channel hip: unknown field colour: written by"),
        ({"name": "hip", "joint": "hip", "unit": "1"}, "channel hip: interpretation, low, high, s"),
        ("hip", "a channel is 'hip', expected an object"),
    ],
)
def test_foreign_json(channel: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ActionLayout.from_json([channel])
