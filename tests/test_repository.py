# SPDX-License-Identifier: Apache-2.0
"""Rules that hold for every file of the repository."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
NOT_OURS = {".git", ".venv", "build", "install", "log", "runs", "__pycache__"}
WITH_HEADER = {".cmake", ".css", ".html", ".js", ".msg", ".py", ".sh", ".srv", ".toml", ".yaml"}


def sources() -> list[Path]:
    """The repository's files, without what tools and runs put beside them."""
    tops = [path for path in ROOT.iterdir() if path.name not in NOT_OURS]
    inner = [path for top in tops if top.is_dir() for path in top.rglob("*")]
    return [
        path
        for path in sorted([*tops, *inner])
        if path.is_file() and not NOT_OURS.intersection(path.relative_to(ROOT).parts)
    ]


def lacks_header(text: str) -> bool:
    """Whether the first three lines name no licence."""
    return "SPDX-License-Identifier: Apache-2.0" not in "\n".join(text.splitlines()[:3])


def test_source_files_name_their_licence() -> None:
    files = [path for path in sources() if path.suffix in WITH_HEADER]
    assert len(files) > 20
    missing = [str(path.relative_to(ROOT)) for path in files if lacks_header(path.read_text())]
    assert missing == []


@pytest.mark.parametrize(
    ("text", "lacks"),
    [("# SPDX-License-Identifier: Apache-2.0\n", False), ("import json\n", True), ("", True)],
)
def test_lacks_header(text: str, lacks: bool) -> None:
    assert lacks_header(text) is lacks


def test_verbs_of_the_command_line_are_importable() -> None:
    from importlib.metadata import entry_points

    verbs = {entry.name: entry for entry in entry_points(group="pwm.verbs")}
    assert {"tasks", "collect", "data.info", "pretrain", "extract", "eval"} <= set(verbs)
    assert {"export", "report", "sim", "demo"} <= set(verbs)
    for verb in verbs.values():
        assert callable(verb.load().run)


def test_pinned_versions_lie_in_the_ranges_of_the_project() -> None:
    from packaging.requirements import Requirement

    pins = {}
    for line in (ROOT / "constraints/tested.txt").read_text().splitlines():
        if not line.startswith("#"):
            pin = Requirement(line)
            pins.setdefault(pin.name, []).extend(spec.version for spec in pin.specifier)
    project = (ROOT / "pyproject.toml").read_text()
    needed = [
        Requirement(text)
        for text in re.findall(r'^    "([a-z][^"]*)",', project, re.MULTILINE)
        if re.match(r"[a-z-]+(\[|[<>=;]|$)", text)
    ]
    ours = [need for need in needed if need.name in pins]
    assert {"torch", "mujoco", "numpy", "onnxruntime"} <= {need.name for need in ours}
    for need in ours:
        assert all(need.specifier.contains(version) for version in pins[need.name]), need
