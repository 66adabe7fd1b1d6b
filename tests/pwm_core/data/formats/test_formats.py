# SPDX-License-Identifier: Apache-2.0
"""The verbs around the formats."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from pwm_core.cli import main


def refusal(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """Return what a command that must not work says."""
    assert main(["data", *words]) == 2
    return capsys.readouterr().err


@pytest.mark.parametrize(("name", "library"), [("minari", "minari"), ("mcap", "mcap.exceptions")])
def test_a_format_whose_library_is_missing_says_what_to_install(
    name: str,
    library: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.delitem(sys.modules, f"pwm_core.data.formats.{name}", raising=False)
    monkeypatch.setitem(sys.modules, library, None)
    said = refusal(capsys, "import", "x", "--format", name, "--out", str(tmp_path / "data"))
    assert f"format {name} needs {library}: run make setup" in said


def test_options_that_a_format_has_no_use_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["import", "x", "--out", str(tmp_path / "data")]
    said = refusal(capsys, *words, "--format", "tdmpc2", "--control-step", "0.1")
    assert "--control-step describes Minari environments, not tdmpc2 files" in said
    said = refusal(capsys, *words, "--format", "mcap", "--task", "walker-walk")
    assert "leave --task out" in said


@pytest.mark.parametrize("name", ["tdmpc2", "mcap"])
def test_a_file_that_is_not_there(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    missing = tmp_path / "missing"
    said = refusal(capsys, "import", str(missing), "--format", name, "--out", str(tmp_path / "d"))
    assert f"{missing}: No such file or directory" in said


def test_an_export_of_an_unknown_task(
    tiny_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["export", str(tiny_data), "--out", str(tmp_path / "minari"), "--tasks", "walker"]
    assert "has no task 'walker'; it has cartpole-balance" in refusal(capsys, *words)
    assert not (tmp_path / "minari").exists()
