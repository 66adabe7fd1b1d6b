# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import dataclasses

import pytest

from pwm_core.extraction.config import PRESETS, ExtractionConfig, Overrides, configure

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
    assert known.keys() - options == fixed | {"actor_rate", "critic_rate", "preset", "overrides"}


@pytest.mark.parametrize("option", sorted(vars(Overrides()).keys() - ALIASES))
def test_an_option_left_out_changes_nothing(option: str) -> None:
    value = getattr(PRESETS["released"], option)
    config = configure("released", Overrides(**{option: value}), 0)
    assert getattr(config, option) == value
