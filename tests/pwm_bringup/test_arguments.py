# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest
import tyro

from pwm_bringup.arguments import arguments_of, descriptions, from_texts
from pwm_bringup.real_robot import RealRobot
from pwm_bringup.simulation import Simulation


@dataclass(frozen=True, kw_only=True)
class Base:
    """Not the docstring of a field."""

    where: Path
    """Has to be
    given."""
    colour: Literal["red", "green"] = "red"
    """Colour."""


@dataclass(frozen=True, kw_only=True)
class Example(Base):
    """What the tests below start."""

    rate: float | None = None
    """Hertz."""
    file: Path | None = None
    """File."""
    loud: bool = False
    """Whether it is loud."""
    joints: tuple[str, ...] = ()
    """Joints."""
    colour: Literal["red", "green"] = "green"
    """Another colour."""


def test_arguments_carry_names_defaults_descriptions_and_choices() -> None:
    found = {a.name: (a.default, a.description, a.choices) for a in arguments_of(Example)}
    assert found == {
        "where": (None, "Has to be given.", None),
        "colour": ("green", "Another colour.", ("red", "green")),
        "rate": ("", "Hertz.", None),
        "file": ("", "File.", None),
        "loud": ("false", "Whether it is loud.", ("true", "false")),
        "joints": ("", "Joints.", None),
    }


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("rate", "50", 50.0),
        ("rate", "", None),
        ("file", "a/b", Path("a/b")),
        ("file", "", None),
        ("loud", "true", True),
        ("joints", "hip, knee,ankle", ("hip", "knee", "ankle")),
        ("joints", "", ()),
        ("colour", "red", "red"),
    ],
)
def test_a_text_becomes_a_value_of_its_field(name: str, text: str, value: Any) -> None:
    example = from_texts(Example, {"where": "here", name: text})
    assert getattr(example, name) == value


@pytest.mark.parametrize(
    ("name", "text", "complaint"),
    [
        ("rate", "fast", "rate is 'fast', expected a number"),
        ("loud", "yes", "loud is 'yes', expected one of 'true', 'false'"),
        ("colour", "blue", "colour is 'blue', expected one of 'red', 'green'"),
    ],
)
def test_a_text_that_does_not_fit_is_refused(name: str, text: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        from_texts(Example, {"where": "here", name: text})


@pytest.mark.parametrize("kind", [Simulation, RealRobot])
def test_defaults_survive_the_way_through_text(kind: type) -> None:
    texts = {a.name: a.default for a in arguments_of(kind) if a.default is not None}
    texts["policy_dir"] = "bundles"
    assert from_texts(kind, texts) == kind(policy_dir=Path("bundles"))


@pytest.mark.parametrize("kind", [Simulation, RealRobot])
def test_every_argument_is_described_and_the_command_line_says_the_same(
    kind: type, capsys: pytest.CaptureFixture[str]
) -> None:
    described = descriptions(kind)
    assert all(described[argument.name].endswith(".") for argument in arguments_of(kind))
    with pytest.raises(SystemExit):
        tyro.cli(kind, args=["--help"], console_outputs=True)
    shown = " ".join(capsys.readouterr().out.replace("│", " ").split())
    for argument in arguments_of(kind):
        words = described[argument.name].replace("`", "").rstrip(".")
        assert words in shown.replace("`", ""), argument.name
