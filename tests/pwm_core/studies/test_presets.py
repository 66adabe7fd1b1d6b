# SPDX-License-Identifier: Apache-2.0
"""Presets nobody waits for in a test: their settings, and the first cell of the large ones."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pwm_core.extraction.config import ExtractionConfig
from pwm_core.finetuning.adaptation import AdaptationConfig
from pwm_core.finetuning.config import FinetuningConfig
from pwm_core.run_directory import plain
from pwm_core.studies.generalisation import Generalisation
from pwm_core.studies.muscles import FromSynergies
from pwm_core.studies.study import Cell, Inputs, Preset
from pwm_core.studies.topics import TOPICS, topic

CUT: dict[str, dict[str, Any]] = {
    "action-dimensions": {
        "iterations": 2,
        "transitions": 100,
        "probe_after": 1,
        "probe_batches": 2,
        "reference_batches": 2,
        "evaluation_steps": 5,
    },
    "muscles": {
        "learning": FromSynergies(rounds=2, each=2, updates=2, iterations=1, episodes=1, first=12),
        "random_episodes": 1,
        "probe_batches": 2,
    },
    "first-order-vs-zeroth": {
        "iterations": 2,
        "episodes": 1,
        "horizons": (1, 32),
        "probe_after": 1,
        "probe_batches": 2,
    },
    "ground-truth-dynamics": {
        "iterations": 1,
        "updates": 2,
        "episodes": 12,
        "judged": 2,
        "probe_batches": 2,
        "landscape_points": 5,
    },
    "horizon-batch": {"iterations": 1, "episodes": 1},
    "regularisation": {
        "task": "cartpole-swingup",  # the cheetah needs data of its own
        "updates": 2,
        "iterations": 1,
        "episodes": 1,
        "probe_batches": 2,
    },
    "offline-coverage": {"amounts": (12,), "updates": 2, "iterations": 1, "episodes": 1},
    "multi-task-vs-per-task": {
        "tasks": ("cartpole-swingup",),  # the five need the data of the five
        "updates": 2,
        "iterations": 1,
        "episodes": 1,
    },
    "generalisation": {"updates": 2, "new_updates": 2, "iterations": 1, "episodes": 1},
    "online-world-model": {"rounds": 2, "updates": 2, "iterations": 1, "episodes": 1},
    "finetune": {
        "episodes": 1,
        "extraction": ExtractionConfig(iterations=1),
        "adaptation": AdaptationConfig(
            rounds=1,
            watched=2,
            exploring=1,
            finetuning=FinetuningConfig(updates=2, iterations=1, critic_iterations=1),
        ),
        "updates": 2,
    },
}
"""What makes the large presets short; all else is theirs."""
HERE = {
    "generalisation": {"newcomers": Generalisation().newcomers[:1]},
}
"""Tasks that the data of the tests knows, for presets for a GPU: others need data of their own."""
LARGE = [(name, preset) for name in TOPICS for preset in topic(name).presets if preset != "quick"]


@pytest.mark.parametrize("name", list(TOPICS))
def test_every_preset_has_cells_and_an_identity(name: str) -> None:
    for preset, study in topic(name).presets.items():
        cells = [Cell(setting, seed).name for setting in study.settings() for seed in study.seeds]
        assert len(set(cells)) == len(cells) > 0, preset
        assert len(study.seeds) >= 3, preset
        assert json.dumps(plain(study)), preset


@pytest.mark.parametrize(("name", "preset"), LARGE)
def test_the_first_cell_of_a_large_preset_starts(
    name: str, preset: Preset, tmp_path: Path, tiny_data: Path, tiny_world_model: Path
) -> None:
    if name == "muscles":
        pytest.importorskip("envpool")
    large = topic(name).presets[preset]
    cut = CUT[name] | (HERE.get(name, {}) if preset == "gpu" else {})
    short = replace(large, **cut)  # type: ignore[type-var]
    folder = tmp_path / "work" / "cell"
    folder.mkdir(parents=True)
    figures = short.measure(
        short.settings()[0], large.seeds[0], Inputs(tiny_data, tiny_world_model), folder
    )
    known = {column.figure for column in topic(name).columns}
    assert known & figures.keys()
