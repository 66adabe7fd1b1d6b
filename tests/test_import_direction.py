# SPDX-License-Identifier: Apache-2.0
"""The architecture's import rules: read from the sources, and from what really gets loaded."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ROS = {
    *("launch", "launch_ros", "rclpy", "pwm_diagnostics", "pwm_interfaces"),
    *("pwm_bringup", "pwm_finetune", "pwm_mujoco", "pwm_policy"),
}
SIMULATORS = {"dm_control", "envpool", "gymnasium", "metaworld", "mujoco"}

FORBIDDEN = {
    "pwm_core": ROS | {"pwm_export"},
    "export": ROS,
    "ros2_ws/src/pwm_diagnostics": SIMULATORS | {"onnx", "pwm_core", "pwm_export", "torch"},
    "ros2_ws/src/pwm_policy": SIMULATORS | {"onnx", "pwm_bringup", "pwm_mujoco", "torch"},
    "ros2_ws/src/pwm_finetune": SIMULATORS | {"onnx", "pwm_bringup", "pwm_mujoco", "torch"},
    "ros2_ws/src/pwm_mujoco": {"onnx", "pwm_bringup", "pwm_export", "pwm_policy", "torch"},
}
"""Folder to the import packages that no file below it may name."""

NAMES_A_SIMULATOR = {
    ("data/behaviours/sac_training.py", "gymnasium"),
    ("data/formats/minari.py", "gymnasium"),
    ("rendering.py", "mujoco"),
    ("studies/mujoco_world.py", "mujoco"),
}
"""Files of pwm_core outside tasks/ and the simulator that each may name; no other may."""

LOADS_WITHOUT = {
    "pwm_core.layout": SIMULATORS | ROS | {"onnx", "onnxruntime", "pwm_export", "torch"},
    "pwm_core.tasks": ROS | {"onnxruntime", "pwm_export", "torch"},
    "pwm_core.cli": {"rclpy"},
    "pwm_export.bundle": SIMULATORS | ROS | {"onnx", "onnxscript", "torch"},
    "pwm_bringup": {"rclpy", "torch"},
    "pwm_bringup.sim": {"rclpy", "torch"},
    "pwm_bringup.robot": SIMULATORS | {"rclpy", "torch"},
}
"""Module to the packages that are not in memory after importing it, however indirectly."""


def imported_roots(source: str) -> Iterator[tuple[int, str]]:
    """Line and top-level package of every absolute import, also inside functions and by name."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name.split(".")[0]
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.lineno, node.module.split(".")[0]
        elif isinstance(node, ast.Call) and node.args:
            name = getattr(node.func, "attr", getattr(node.func, "id", ""))
            value = getattr(node.args[0], "value", None)
            if name in {"import_module", "__import__"} and isinstance(value, str):
                yield node.lineno, value.split(".")[0]


def forbidden_imports(folder: Path, forbidden: set[str]) -> Iterator[tuple[str, int, str]]:
    """File, line and package of each forbidden import below a folder."""
    for path in sorted(folder.rglob("*.py")):
        for line, root in imported_roots(path.read_text()):
            if root in forbidden:
                yield path.relative_to(folder).as_posix(), line, root


def violations(folder: Path, forbidden: set[str]) -> list[str]:
    """``file:line imports package`` for each forbidden import below a folder."""
    found = forbidden_imports(folder, forbidden)
    return [f"{file}:{line} imports {root}" for file, line, root in found]


def loaded_by(module: str, suspects: set[str]) -> set[str]:
    """Those of the suspects that are in memory after a fresh interpreter imported a module."""
    code = (
        f"import json, sys, {module}; print(json.dumps([m for m in sys.modules if '.' not in m]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd="/")
    assert done.returncode == 0, done.stderr
    return suspects.intersection(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize("folder", FORBIDDEN)
def test_sources_import_only_what_their_layer_may(folder: str) -> None:
    assert (ROOT / folder).is_dir()
    assert violations(ROOT / folder, FORBIDDEN[folder]) == []


def test_outside_of_tasks_only_the_files_listed_name_a_simulator() -> None:
    found = forbidden_imports(ROOT / "pwm_core", SIMULATORS)
    outside = {(file, root) for file, _, root in found if not file.startswith("tasks/")}
    assert outside == NAMES_A_SIMULATOR


@pytest.mark.parametrize("module", LOADS_WITHOUT)
def test_modules_load_without(module: str) -> None:
    assert loaded_by(module, LOADS_WITHOUT[module]) == set()


def test_the_whole_policy_node_loads_without_torch_and_simulators() -> None:
    package = ROOT / "ros2_ws/src/pwm_policy/pwm_policy"
    modules = [f"pwm_policy.{path.stem}" for path in package.glob("*.py") if path.stem[0] != "_"]
    assert modules
    forbidden = SIMULATORS | {"onnx", "pwm_bringup", "pwm_mujoco", "torch"}
    assert loaded_by(", ".join(sorted(modules)), forbidden) == set()


@pytest.mark.parametrize(
    "statement",
    [
        "import torch",
        "import torch.nn as nn",
        "from torch.nn import functional",
        "def late():\n    import torch",
        "import importlib\nimportlib.import_module('torch.nn')",
        "__import__('torch')",
        "if False:\n    from torch import Tensor",
    ],
)
def test_the_check_finds_a_made_up_violation(statement: str, tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner/guilty.py").write_text(f"import json\n{statement}\n")
    (tmp_path / "innocent.py").write_text("from . import torch\nimport torchless\n")
    found = violations(tmp_path, {"torch"})
    assert len(found) == 1
    assert found[0].startswith("inner/guilty.py:")
    assert found[0].endswith("imports torch")


def test_the_load_check_sees_indirect_imports() -> None:
    assert loaded_by("http.server", {"socketserver", "torch"}) == {"socketserver"}
