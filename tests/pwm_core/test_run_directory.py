# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from pwm_core.run_directory import (
    RunDirectory,
    RunDirectoryError,
    plain,
    read_metrics,
    start_over,
)


@dataclass(frozen=True)
class Config:
    rate: float
    sizes: tuple[int, ...] = (1, 2)
    where: Path = Path("x")


def open_run(path: Path, config: Config, resume_at: int | None = None) -> RunDirectory:
    run = RunDirectory(path, "stage", config, {"dataset": "abc"})
    run.open_metrics(resume_at)
    return run


def steps(path: Path) -> list[int]:
    return [line["step"] for line in read_metrics(path)]


def test_plain_is_what_json_gives_back() -> None:
    assert plain(Config(0.5)) == {"rate": 0.5, "sizes": [1, 2], "where": "x"}
    assert plain({"a": (Path("p"), 1)}) == {"a": ["p", 1]}


def test_keeps_configuration_inputs_and_provenance(tmp_path: Path) -> None:
    open_run(tmp_path, Config(0.5)).close()
    stored = json.loads((tmp_path / "config.json").read_text())
    assert stored["stage"] == "stage"
    assert stored["config"] == plain(Config(0.5))
    assert stored["inputs"] == {"dataset": "abc"}
    assert stored["git"]
    assert stored["machine"]["torch"]


def test_options_of_later_versions_had_their_default(tmp_path: Path) -> None:
    """A run begun before ``sizes`` and ``where`` existed goes on, unless they are used."""
    open_run(tmp_path, Config(0.5)).close()
    file = tmp_path / "config.json"
    stored = json.loads(file.read_text())
    del stored["config"]["sizes"], stored["config"]["where"]
    file.write_text(json.dumps(stored))
    open_run(tmp_path, Config(0.5)).close()
    with pytest.raises(RunDirectoryError, match=r"sizes was \[1, 2\], now \[3\]"):
        open_run(tmp_path, Config(0.5, (3,)))


def test_metrics_after_the_checkpoint_are_dropped(tmp_path: Path) -> None:
    """An interrupted run wrote them, and will write them again; its last line may be half."""
    run = open_run(tmp_path, Config(0.5))
    for step in (1, 2, 3, 4):
        run.log(step, {"loss": 1.0 / step, "errors": [0.1, 0.2]})
    run.close()
    with open(tmp_path / "metrics.jsonl", "a") as file:
        file.write('{"step": 5, "lo')
    assert steps(tmp_path) == [1, 2, 3, 4]
    run = open_run(tmp_path, Config(0.5), resume_at=2)
    run.log(3, {"loss": 9.0})
    run.close()
    assert steps(tmp_path) == [1, 2, 3]
    assert read_metrics(tmp_path)[2] == {"step": 3, "loss": 9.0}


def test_without_a_checkpoint_metrics_start_over(tmp_path: Path) -> None:
    run = open_run(tmp_path, Config(0.5))
    run.log(0, {"loss": 1.0})
    run.close()
    open_run(tmp_path, Config(0.5)).close()
    assert steps(tmp_path) == []


def test_another_run_is_refused_and_left_alone(tmp_path: Path) -> None:
    run = open_run(tmp_path, Config(0.5))
    run.log(1, {"loss": 1.0})
    run.close()
    with pytest.raises(RunDirectoryError, match=r"config: rate was 0\.5, now 0\.6"):
        RunDirectory(tmp_path, "stage", Config(0.6), {"dataset": "abc"})
    with pytest.raises(RunDirectoryError, match=r"inputs: dataset was 'abc', now 'abd'"):
        RunDirectory(tmp_path, "stage", Config(0.5), {"dataset": "abd"})
    with pytest.raises(RunDirectoryError, match=r"stage: was 'stage', now 'other'"):
        RunDirectory(tmp_path, "other", Config(0.5), {"dataset": "abc"})
    assert steps(tmp_path) == [1]


def test_only_what_an_earlier_run_left_is_deleted(tmp_path: Path) -> None:
    start_over(tmp_path / "absent", ("mine",))
    strange = tmp_path / "home"
    strange.mkdir()
    start_over(strange, ("mine",))
    (strange / "thesis.txt").write_text("years of work")
    with pytest.raises(RunDirectoryError, match=r"home holds thesis\.txt and nothing .*\(mine\)"):
        start_over(strange, ("mine",))
    assert (strange / "thesis.txt").is_file()
    (strange / "mine").mkdir()
    start_over(strange, ("mine",))
    assert not strange.exists()
