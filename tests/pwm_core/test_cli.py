# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import fields
from importlib.util import find_spec
from pathlib import Path
from typing import Any, get_type_hints

import pytest
import tyro

from pwm_core import __version__, cli
from pwm_core.cli import find_verbs, main

VERBS = find_verbs()
INSTALLED = [words for words, verb in VERBS.items() if find_spec(verb.module)]


def test_the_core_verbs_are_there_in_the_order_of_the_stages() -> None:
    names = [" ".join(words) for words in INSTALLED]
    stages = ["tasks", "collect", "data info", "pretrain", "extract", "eval", "export"]
    assert [name for name in names if name in stages] == stages


@pytest.mark.parametrize("words", INSTALLED, ids=" ".join)
def test_help_of_every_verb(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main([*words, "--help"])
    assert caught.value.code == 0
    text = capsys.readouterr().out
    assert f"pwm {' '.join(words)}" in text
    for name, hint in get_type_hints(VERBS[words].load(), include_extras=True).items():
        assert shown_as(name, hint) in text, name


def shown_as(name: str, hint: Any) -> str:
    """Return how the help names a field: by its own name, a given one, or as an argument."""
    marks = getattr(hint, "__metadata__", ())
    if tyro.conf.Positional in marks:
        return "PATH"
    names = [mark.name for mark in marks if getattr(mark, "name", None) is not None]
    if "" in names:  # a group of options without a prefix
        return fields(hint.__origin__)[0].name.replace("_", "-")
    given = [text for text in names if text]
    return str(given[0]) if given else name.replace("_", "-")


@pytest.mark.parametrize("words", INSTALLED, ids=" ".join)
def test_unknown_option_of_every_verb(
    words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main([*words, "--no-such-option"])
    assert caught.value.code == 2
    assert f"pwm {' '.join(words)} --help" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["--help"], ["-h"]])
def test_general_help_lists_all_verbs(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 0
    lines = capsys.readouterr().out.splitlines()
    for words in INSTALLED:
        width = max(len(" ".join(other)) for other in INSTALLED)
        (line,) = [one for one in lines if one.startswith(f"  pwm {' '.join(words):<{width}} ")]
        assert len(line.split(None, 1 + len(words))) == 2 + len(words), f"{words} is described"


def test_a_word_that_only_begins_verbs_lists_them(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, status in ((["data", "--help"], 0), (["data"], 2), (["data", "fly"], 2)):
        assert main(arguments) == status
        said = "".join(capsys.readouterr())
        listed = [line.split()[1] for line in said.splitlines() if line.startswith("  pwm")]
        assert len(listed) > 1
        assert set(listed) == {"data"}


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.strip() == __version__


@pytest.mark.parametrize("words", [[], ["fly"], ["data"], ["data", "fly"], ["--fly"]])
def test_unknown_verb(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    out, err = capsys.readouterr()
    assert "pwm VERB --help" in out + err
    if words:
        assert f"unknown verb {words[0]!r}" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["data", "info", "nowhere"], "nowhere is no dataset: dataset.json is missing"),
        (["pretrain", "--data", "nowhere", "--out", "w"], "nowhere is no dataset"),
        (["extract", "--world-model", "no.safetensors"], "no.safetensors does not exist"),
        (["eval", "--policies", "no.safetensors"], "no.safetensors does not exist"),
        (["export", "--data", "nowhere", "--policies", "p"], "nowhere is no dataset"),
        (["collect", "--tasks", "cartpole-swing", "--out", "d"], "unknown task 'cartpole-swing'"),
        (["tasks", "--suite", "atari"], "unknown suite 'atari'"),
    ],
)
def test_bad_input_is_one_line_and_status_2(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    (line,) = err.splitlines()
    verb = " ".join(arguments[: 2 if arguments[0] == "data" else 1])
    assert line.startswith(f"pwm {verb}: ")
    assert message in line
    assert list(tmp_path.iterdir()) == [], "nothing is left behind"


def test_output_directory_that_is_a_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "file"
    file.write_text("mine")
    for out in (file, file / "below"):
        assert main(["collect", "--out", str(out), "--uniform", "1"]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith(f"pwm collect: {file}")
    assert file.read_text() == "mine"


def test_missing_policy_and_evaluation_of_an_export(
    tiny_data: Path, tiny_policy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = ["export", "--data", str(tiny_data), "--out", str(tmp_path / "bundles")]
    assert main([*data, "--policies", "no.safetensors"]) == 2
    assert "no.safetensors does not exist" in capsys.readouterr().err
    ghost = ["--evaluation", "ghost.json", "--force"]
    assert main([*data, "--policies", str(tiny_policy), *ghost]) == 2
    assert "ghost.json is no result of pwm eval" in capsys.readouterr().err
    assert not (tmp_path / "bundles").exists()


def test_world_model_without_the_task(
    tiny_world_model: Path, tiny_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--world-model", str(tiny_world_model), "--data", str(tiny_data)]
    assert main(["extract", *arguments, "--tasks", "walker-walk"]) == 2
    assert "not 'walker-walk'" in capsys.readouterr().err


def test_tasks_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tasks", "--suite", "dm_control", "--json"]) == 0
    rows = {row["task"]: row for row in json.loads(capsys.readouterr().out)}
    swingup = rows["cartpole-swingup"]
    assert swingup["observations"][0]["name"] == "slider/position"
    assert swingup["actions"][0]["unit"] == "1"
    assert swingup["rate (Hz)"] == 50


def test_tasks_as_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tasks"]) == 0
    assert "dm_control" in capsys.readouterr().out
    assert main(["tasks", "--suite", "dm_control"]) == 0
    assert "cartpole-swingup" in capsys.readouterr().out


def test_collect_then_info_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "data"
    amounts = ["--uniform", "1", "--correlated", "1", "--mpc", "0", "--workers", "1"]
    tasks = ["--tasks", "cartpole-balance"]
    assert main(["collect", *tasks, "--out", str(out), *amounts, "--json"]) == 0
    collected = json.loads(capsys.readouterr().out)
    assert [(row["behaviour"], row["episodes"]) for row in collected] == [
        ("uniform", 1),
        ("correlated", 1),
        ("all", 2),
    ]
    assert main(["data", "info", str(out), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == collected
    assert main(["data", "validate", str(out)]) == 0
    assert "checksums match" in capsys.readouterr().out
    with open(out / "reward.f32", "r+b") as file:
        file.seek(400)
        file.write(b"\x00\x00\x00\x40")
    assert main(["data", "validate", str(out)]) == 3
    assert "data was changed" in capsys.readouterr().err


def test_interrupt_is_status_130(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("pwm_core.verbs.tasks.print_table", interrupt)
    assert main(["tasks"]) == 130
    assert "give the same command again to go on" in capsys.readouterr().err


def test_without_the_training_extra_the_way_to_get_it_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "tyro", None)
    assert main(["tasks"]) == 2
    assert "run make setup" in capsys.readouterr().err


def test_help_does_not_wait_for_torch() -> None:
    """The list of verbs is read from the sources' first lines."""
    program = (
        "import sys; from pwm_core.cli import main; main(['--help']);"
        "sys.exit(any(m in sys.modules for m in ('torch', 'mujoco', 'tyro')))"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert found.returncode == 0, found.stderr


def test_run_as_a_module(tmp_path: Path) -> None:
    """The status reaches the shell, and no traceback the user."""
    command = [sys.executable, "-m", cli.__name__, "data", "info", str(tmp_path)]
    found = subprocess.run(command, capture_output=True, text=True)
    assert found.returncode == 2
    assert "Traceback" not in found.stderr
    assert "is no dataset" in found.stderr
