# SPDX-License-Identifier: Apache-2.0
"""``pwm study`` from the command line's point of view."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType

import pytest

from pwm_core.errors import PwmError
from pwm_core.studies.study import Inputs
from pwm_core.studies.topics import TOPICS, topic
from pwm_core.verbs.study import StudyVerb


@pytest.fixture
def _counting(counting: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TOPICS, counting.TOPIC.name, counting.__name__)


@pytest.mark.usefixtures("_counting")
def test_run_writes_table_figures_and_plots(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    verb = StudyVerb("counting", "quick", out, Inputs(tmp_path), 1, tmp_path / "pages", json=True)
    assert verb.run() == 0
    rows = json.loads(capsys.readouterr().out)
    assert rows[0] == {
        "size": "1",
        "double": "2.5 [2, 3]",
        "return": "3 [2.25, 3.75]",
        "nowhere": "–",
        "seeds": "2",
    }
    assert len(json.loads((out / "results.json").read_text())) == 4
    assert (out / "doubles.png").is_file()
    assert "| 1 | 2.5 [2, 3] |" in (out / "table.md").read_text()
    assert "| 1 | 2.5 [2, 3] |" in (tmp_path / "pages/counting.md").read_text()


@pytest.mark.usefixtures("_counting")
def test_a_failed_cell_is_named_and_makes_the_command_fail(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "fail").touch()
    verb = StudyVerb("counting", "quick", tmp_path / "out", Inputs(tmp_path), 1)
    assert verb.run() == 1
    assert "FAILED: size=2,seed=1: ValueError: told to fail" in capsys.readouterr().err


@pytest.mark.usefixtures("_counting")
def test_table_and_plots_of_the_cells_there_are_without_running_any(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    StudyVerb("counting", "quick", out, Inputs(tmp_path), 1).run()
    (out / "cells/size=2,seed=1.json").unlink()
    capsys.readouterr()
    verb = StudyVerb("counting", "quick", out, Inputs(tmp_path), 1, missing=False, json=True)
    assert verb.run() == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["seeds"] for row in rows] == ["2", "1"]
    assert "**1 cells are missing.**" in (out / "table.md").read_text()
    assert not (out / "cells/size=2,seed=1.json").exists()


@pytest.mark.usefixtures("_counting")
def test_unknown_names_are_answered_with_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(PwmError, match=r"unknown study 'count': the studies are .*counting"):
        StudyVerb("count").run()
    with pytest.raises(PwmError, match="counting has no preset 'gpu', only quick"):
        StudyVerb("counting", "gpu", tmp_path).run()


def test_every_study_has_the_quick_preset_with_three_seeds_and_cells_of_distinct_names() -> None:
    for name in TOPICS:
        found = topic(name)
        assert found.name == name
        assert "quick" in found.presets
        for study in found.presets.values():
            assert len(study.seeds) >= 3
            settings = [tuple(setting.items()) for setting in study.settings()]
            assert len(set(settings)) == len(settings)
