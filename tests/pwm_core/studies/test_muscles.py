# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from pwm_core.data.dataset import Dataset
from pwm_core.model.config import WorldModelConfig
from pwm_core.studies.muscles import TOPIC, FromSynergies, Muscles
from pwm_core.studies.runner import run_study
from pwm_core.studies.study import Inputs
from pwm_core.studies.synergies import Synergies
from pwm_core.studies.table import table_rows
from pwm_core.tasks import get_task

pytest.importorskip("envpool")

SMALL = Muscles(
    tasks=("myo-finger-pose-fixed",),
    learning=FromSynergies(
        rounds=2,
        each=3,
        model=WorldModelConfig(latent=16, encoder_width=16, width=16),
        updates=2,
        iterations=1,
        episodes=1,
        first=12,
        behaviour=Synergies(signals=2),
    ),
    times=(2,),
    seeds=(0,),
    random_episodes=2,
    probe_batches=3,
)


def test_the_smallest_scale_runs_from_cells_to_plots(tmp_path: Path) -> None:
    topic = replace(TOPIC, presets={"quick": SMALL})
    outcome = run_study(topic, "quick", Inputs(), tmp_path, workers=1)
    assert not outcome.failures
    (row,) = table_rows(outcome.results, TOPIC.columns)
    assert row["muscles"] == "5"
    assert [title for title, shown in row.items() if shown == "–"] == ["termination error (%)"]
    figures = outcome.results[0].figures
    assert len(figures["random"]) == 2
    assert len(figures["let_go"]) == 1
    assert len(figures["data"]) == 24
    (data,) = tmp_path.glob("work/*/data")
    assert len(Dataset(data).episodes) == 24 + 6, "those of its own, too"
    assert figures["random"][0] != figures["let_go"][0]
    SMALL.draw(outcome.results)["muscles"].savefig(tmp_path / "plot.png", dpi=30)


def test_presets_have_the_bodies_the_paper_stops_before() -> None:
    muscles = [setting["muscles"] for setting in TOPIC.presets["quick"].settings()]
    assert muscles == [80, 210, 275]
    assert get_task("myo-challenge-soccer-p1").action.size == 290
