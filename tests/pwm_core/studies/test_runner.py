# SPDX-License-Identifier: Apache-2.0
"""Cells run once, failures are named and tried again, other configurations are refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

from pwm_core.errors import PwmError
from pwm_core.run_directory import RunDirectoryError
from pwm_core.studies.runner import Job, input_hashes, run_study
from pwm_core.studies.study import Cell, Inputs


def runs_of(out: Path) -> dict[str, int]:
    return {path.parent.name: len(path.read_text()) for path in out.glob("work/*/runs")}


def test_every_cell_runs_once_however_often_the_study_is_started(
    tmp_path: Path, counting: ModuleType
) -> None:
    inputs, out = Inputs(tmp_path), tmp_path / "out"
    outcome = run_study(counting.TOPIC, "quick", inputs, out, workers=1)
    assert not outcome.failures
    assert [(r.setting["size"], r.seed) for r in outcome.results] == [
        (1, 0),
        (1, 1),
        (2, 0),
        (2, 1),
    ]
    (out / "cells/size=2,seed=0.json").unlink()
    again = run_study(counting.TOPIC, "quick", inputs, out, workers=1)
    assert runs_of(out) == {
        "size=1,seed=0": 1,
        "size=1,seed=1": 1,
        "size=2,seed=0": 2,
        "size=2,seed=1": 1,
    }
    assert [r.figures for r in again.results] == [r.figures for r in outcome.results]
    assert [r.resumed for r in again.results] == [False, False, True, False]


def test_only_the_cells_that_are_named_run(tmp_path: Path, counting: ModuleType) -> None:
    inputs, out = Inputs(tmp_path), tmp_path / "out"
    outcome = run_study(counting.TOPIC, "quick", inputs, out, workers=1, only="size=2,seed=1")
    assert [(r.setting["size"], r.seed) for r in outcome.results] == [(2, 1)]
    outcome = run_study(counting.TOPIC, "quick", inputs, out, workers=1, only="size=2")
    assert [(r.setting["size"], r.seed) for r in outcome.results] == [(2, 0), (2, 1)]
    assert runs_of(out) == {"size=2,seed=0": 1, "size=2,seed=1": 1}


@pytest.mark.parametrize("workers", [1, 2])
def test_a_failed_cell_is_named_leaves_the_others_alone_and_is_tried_again(
    tmp_path: Path, counting: ModuleType, workers: int
) -> None:
    (tmp_path / "fail").touch()
    out = tmp_path / "out"
    outcome = run_study(counting.TOPIC, "quick", Inputs(tmp_path), out, workers)
    assert outcome.failures == {
        "size=2,seed=0": "ValueError: told to fail",
        "size=2,seed=1": "ValueError: told to fail",
    }
    assert [r.setting["size"] for r in outcome.results] == [1, 1]
    assert "told to fail" in (out / "failed/size=2,seed=0.txt").read_text()
    (tmp_path / "fail").unlink()
    outcome = run_study(counting.TOPIC, "quick", Inputs(tmp_path), out, workers)
    assert not outcome.failures
    assert len(outcome.results) == 4
    assert not list((out / "failed").iterdir())


def test_a_result_is_whole_or_absent(
    tmp_path: Path, counting: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = Job(counting.Counting(), Cell({"size": 1}, 0), Inputs(tmp_path), tmp_path / "out")
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        job.run()
    assert job.stored() is None
    assert not list((tmp_path / "out/cells").iterdir())
    monkeypatch.undo()
    job.run()
    stored = json.loads(job.result_file.read_text())
    assert stored["figures"]["double"] == 2.0
    assert job.stored() is not None


def test_a_directory_of_another_configuration_is_refused(
    tmp_path: Path, counting: ModuleType
) -> None:
    run_study(counting.TOPIC, "quick", Inputs(tmp_path), tmp_path / "out", 1)
    other = replace(counting.TOPIC, presets={"quick": counting.Counting(sizes=(1, 3))})
    with pytest.raises(RunDirectoryError, match=r"sizes was \[1, 2\], now \[1, 3\]"):
        run_study(other, "quick", Inputs(tmp_path), tmp_path / "out", 1)


def test_a_directory_that_lacks_a_setting_is_refused(tmp_path: Path, counting: ModuleType) -> None:
    out = tmp_path / "out"
    run_study(counting.TOPIC, "quick", Inputs(tmp_path), out, 1)
    stored = json.loads((out / "config.json").read_text())
    del stored["config"]["sizes"]
    (out / "config.json").write_text(json.dumps(stored))
    with pytest.raises(RunDirectoryError, match=r"sizes was None, now \[1, 2\]"):
        run_study(counting.TOPIC, "quick", Inputs(tmp_path), out, 1)


def test_a_cell_is_measured_with_the_processor_time_it_took(
    tmp_path: Path, counting: ModuleType
) -> None:
    result = run_study(counting.TOPIC, "quick", Inputs(tmp_path), tmp_path / "out", 1).results[0]
    assert result.cpu_seconds is not None
    assert 0 <= result.cpu_seconds <= result.seconds + 1
    assert result.load is not None


def test_without_a_gpu_the_gpu_preset_shows_what_there_is_but_runs_nothing(
    tmp_path: Path, counting: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = replace(
        counting.TOPIC, presets={"quick": counting.Counting(), "gpu": counting.Counting()}
    )
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    inputs, out = Inputs(tmp_path), tmp_path / "out"
    with pytest.raises(PwmError, match="counting, preset gpu: this machine or this build of torch"):
        run_study(both, "gpu", inputs, out, 1)
    assert not out.exists()
    assert run_study(both, "gpu", inputs, out, 1, missing=False).results == []


def test_inputs_that_are_missing_are_named(tmp_path: Path, counting: ModuleType) -> None:
    topic = replace(counting.TOPIC, reads_world_model=True)
    with pytest.raises(PwmError, match=r"nothing\.safetensors does not exist: study counting"):
        input_hashes(topic, Inputs(world_model=tmp_path / "nothing.safetensors"))
    assert input_hashes(counting.TOPIC, Inputs()) == {}


def test_data_that_lacks_a_task_of_the_study_is_refused_before_anything_runs(
    tmp_path: Path, counting: ModuleType, tiny_data: Path
) -> None:
    inputs, out = Inputs(tiny_data), tmp_path / "out"
    known = replace(counting.TOPIC, tasks_read=lambda study: ["cartpole-swingup"])
    assert len(run_study(known, "quick", inputs, tmp_path / "known", workers=1).results) == 4
    unknown = replace(known, tasks_read=lambda study: ["cartpole-swingup", "cheetah-run"])
    with pytest.raises(PwmError, match=r"no episodes of cheetah-run, which .*--data DATA"):
        run_study(unknown, "quick", inputs, out, workers=1)
    assert not out.exists()
    assert not run_study(unknown, "quick", inputs, out, workers=1, missing=False).results
