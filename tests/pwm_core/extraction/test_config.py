# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import dataclasses
import re
from typing import Any

import pytest

from pwm_core.errors import PwmError
from pwm_core.extraction.config import (
    PRESETS,
    ExtractionConfig,
    ExtractionOptions,
    Overrides,
    configure,
)

ALIASES = {"learning_rate"}


def test_without_overrides_a_preset_is_itself() -> None:
    for name, preset in PRESETS.items():
        assert configure(name, Overrides(), 0) == preset
        assert preset.preset == name


def test_overrides_replace_the_presets_values_and_are_named() -> None:
    config = configure("paper", Overrides(iterations=400, batch=512, shuffle=False), 3)
    assert (config.iterations, config.batch, config.shuffle, config.seed) == (400, 512, False, 3)
    assert config.actor_hidden == (400, 200, 100)
    assert config.preset == "paper"
    assert config.overrides == ("iterations", "shuffle")  # 512 is the paper's own


def test_learning_rate_is_that_of_actor_and_critics() -> None:
    config = configure("default", Overrides(learning_rate=1e-3), 0)
    assert (config.actor_rate, config.critic_rate) == (1e-3, 1e-3)
    assert config.overrides == ("actor_rate", "critic_rate")


def test_every_option_is_a_field_of_the_configuration() -> None:
    options = {field.name for field in dataclasses.fields(Overrides)} - ALIASES
    known = {field.name: field for field in dataclasses.fields(ExtractionConfig)}
    assert options <= known.keys()
    fixed = {"lam", "final_rate", "betas", "actor_clip", "critic_clip", "seed"}
    fixed |= {"critic_iterations"}
    assert known.keys() - options == fixed | {"actor_rate", "critic_rate", "preset", "overrides"}


@pytest.mark.parametrize("option", sorted(vars(Overrides()).keys() - ALIASES))
def test_an_option_left_out_changes_nothing(option: str) -> None:
    value = getattr(PRESETS["released"], option)
    config = configure("released", Overrides(**{option: value}), 0)
    assert getattr(config, option) == value


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"discount": 1.0}, "discount is 1.0, expected above 0 and below 1"),
        ({"discount": 0.0}, "discount is 0.0, expected above 0 and below 1"),
        ({"horizon": 0}, "horizon is 0, expected 1 or more"),
        ({"batch": 0}, "batch is 0, expected 1 or more"),
        ({"iterations": 0}, "iterations is 0, expected 1 or more"),
        ({"actor_hidden": (64, 0)}, "actor_hidden is (64, 0), expected 1 or more"),
        ({"critics": 0}, "critics is 0, expected 1 or more"),
        ({"critic_passes": 0}, "critic_passes is 0, expected 1 or more"),
        ({"critic_batches": 0}, "critic_batches is 0, expected 1 or more"),
        ({"actor_rate": 0.0}, "actor_rate is 0.0, expected above 0"),
        ({"critic_rate": -1e-3}, "critic_rate is -0.001, expected above 0"),
        ({"actor_rate": float("nan")}, "actor_rate is nan, expected above 0"),
        ({"final_rate": -1e-5}, "final_rate is -1e-05, expected 0 or more"),
        ({"uncertainty_penalty": -1.0}, "uncertainty_penalty is -1.0, expected 0 or more"),
        ({"lam": 1.5}, "lam is 1.5, expected between 0 and 1"),
        ({"betas": (0.9, 1.0)}, "betas is (0.9, 1.0), expected 0 or more and below 1"),
    ],
    ids=str,
)
def test_numbers_that_make_no_sense_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(PwmError, match=re.escape(message)):
        ExtractionConfig(**change)


def test_limits_themselves_are_allowed() -> None:
    config = ExtractionConfig(lam=1.0, final_rate=0.0, actor_hidden=(), critics=1, horizon=1)
    assert (config.lam, config.final_rate, config.actor_hidden) == (1.0, 0.0, ())


def test_a_learning_rate_of_zero_is_not_taken_for_the_default() -> None:
    with pytest.raises(PwmError, match="actor_rate is 0, expected above 0"):
        configure("default", Overrides(learning_rate=0), 0)


@pytest.mark.parametrize("name", ["evaluate_every", "evaluation_episodes", "checkpoint_every"])
def test_intervals_and_counts_begin_at_one(name: str) -> None:
    change: dict[str, Any] = {name: 0}
    with pytest.raises(PwmError, match=f"{name} is 0, expected 1 or more"):
        ExtractionOptions(**change)
