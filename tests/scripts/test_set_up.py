# SPDX-License-Identifier: Apache-2.0
"""Set-up's decisions, on made-up clones; the stages themselves run in every `make test`."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "set_up.py"


@pytest.fixture
def set_up(tmp_path, monkeypatch):
    """The script as a module whose clone is an empty temporary directory."""
    spec = importlib.util.spec_from_file_location("set_up", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for name in ("ROOT", "VENV", "STAMPS", "LOGS", "ROS_BUILD", "ROS_INSTALL"):
        relative = getattr(module, name).relative_to(SCRIPT.parents[1])
        monkeypatch.setattr(module, name, tmp_path / relative)
    for variable in ("PYTHON", "ROS_DISTRO", "ROS_WHEELS"):
        monkeypatch.delenv(variable, raising=False)
    (tmp_path / ".venv").mkdir()
    return module


def stage(set_up, inputs: bytes):
    product = set_up.ROOT / "product"
    return set_up.Stage("one", "makes one", inputs, lambda: product.write_text("made"), product)


def test_a_stage_is_done_when_recorded_with_the_same_inputs_and_product(set_up):
    one = stage(set_up, b"pins")
    assert not one.done()
    one.run()
    assert not one.done(), "an interrupted stage leaves its product but no stamp"
    one.record()
    assert one.done()
    assert not stage(set_up, b"other pins").done()
    one.product.unlink()
    assert not one.done()


def test_only_build_inputs_ask_for_a_new_build(set_up):
    package = set_up.ROOT / "ros2_ws/src/pwm_interfaces"
    package.mkdir(parents=True)
    (package / "State.msg").write_text("float64 x\n")
    (package / "node.py").write_text("x = 1\n")
    before = set_up.digest_of_workspace()
    (package / "node.py").write_text("x = 2\n")
    assert set_up.digest_of_workspace() == before
    (package / "State.msg").write_text("float32 x\n")
    changed = set_up.digest_of_workspace()
    assert changed != before
    (package / "new.py").write_text("")
    assert set_up.digest_of_workspace() != changed


def test_ros_is_what_was_asked_for_then_what_is_sourced_then_what_was_there(set_up, monkeypatch):
    assert set_up.choose_ros() == set_up.Ros("kilted", native=False)
    set_up.STAMPS.mkdir()
    (set_up.STAMPS / "wheels").write_text("jazzy")
    assert set_up.choose_ros() == set_up.Ros("jazzy", native=False)
    monkeypatch.setenv("ROS_DISTRO", "rolling")
    assert set_up.choose_ros() == set_up.Ros("rolling", native=True)
    monkeypatch.setenv("ROS_WHEELS", "kilted")
    assert set_up.choose_ros() == set_up.Ros("kilted", native=False)
    monkeypatch.setenv("ROS_WHEELS", "humble")
    with pytest.raises(set_up.SetUpError, match="'humble', expected one of kilted, jazzy"):
        set_up.choose_ros()


def test_an_interpreter_that_does_not_fit_is_refused_by_name(set_up, monkeypatch, tmp_path):
    monkeypatch.setenv("PYTHON", "python-that-is-not-there")
    with pytest.raises(set_up.SetUpError, match=r"3\.10, 3\.11 or 3\.12.*python-that-is-not-there"):
        set_up.choose_python()
    old = tmp_path / "python3.9"
    old.write_text("#!/bin/sh\necho 3 9\n")
    old.chmod(0o755)
    monkeypatch.setenv("PYTHON", str(old))
    with pytest.raises(set_up.SetUpError, match=r"python3\.9"):
        set_up.choose_python()
    monkeypatch.setenv("PYTHON", sys.executable)
    assert set_up.choose_python() == sys.executable


@pytest.fixture
def project(set_up):
    """The files that the stages of a clone read."""
    tested = set_up.ROOT / set_up.TESTED
    tested.parent.mkdir()
    tested.write_bytes((SCRIPT.parents[1] / set_up.TESTED).read_bytes())
    for name in ("pyproject.toml", "setup.py", set_up.WHEELS_CMAKE, "constraints/colcon.txt"):
        (set_up.ROOT / name).parent.mkdir(exist_ok=True)
        (set_up.ROOT / name).touch()


def test_a_robot_gets_no_torch_and_a_later_set_up_adds_it(set_up, project):
    commands = []

    def stages(robot):
        ros = set_up.Ros("jazzy", native=True)
        made = set_up.SetUp(ros, lambda *words: commands.append(words), robot)
        return {stage.name: stage for stage in made.stages()}

    few, all_of_them = stages(robot=True), stages(robot=False)
    assert list(few) == ["environment", "project", "ros", "workspace"]
    few["project"].run()
    assert commands[-1][-2:] == ("--editable", ".[robot]")
    assert list(all_of_them) == [
        "environment", "torch", "project", "metaworld", "ros", "workspace"
    ]  # fmt: skip
    for name in ("environment", "ros", "workspace"):
        assert few[name].key == all_of_them[name].key, f"{name} need not run again"
    assert few["project"].key != all_of_them["project"].key


def test_metaworld_is_installed_as_pinned_and_without_its_requirements(set_up, project):
    """It pins an older MuJoCo than the one that is tested."""
    commands = []
    made = set_up.SetUp(set_up.Ros("jazzy", native=True), lambda *words: commands.append(words))
    stages = {stage.name: stage for stage in made.stages()}
    assert list(stages).index("metaworld") > list(stages).index("project")
    assert b"metaworld==" in stages["metaworld"].inputs
    stages["metaworld"].run()
    (command,) = commands
    assert command[-2:] == ("--no-deps", "metaworld")
    assert command[command.index("-c") + 1] == set_up.TESTED


def test_packages_cut_short_are_forgotten(set_up, tmp_path):
    for name, complete in (("whole-1.0", True), ("half-2.0", False)):
        metadata = tmp_path / f"{name}.dist-info"
        metadata.mkdir()
        (metadata / "METADATA").write_text("")
        if complete:
            (metadata / "INSTALLER").write_text("pip")
    assert set_up.discard_partial_installs(tmp_path) == ["half-2.0.dist-info"]
    assert (tmp_path / "whole-1.0.dist-info").exists()
    assert not (tmp_path / "half-2.0.dist-info").exists()


def test_a_failing_command_shows_the_end_of_its_log(set_up):
    with set_up.exclusive() as lock:
        shell = set_up.Shell(set_up.environment(set_up.Ros("kilted", native=False)), lock)
        shell.begin(stage(set_up, b""))
        script = "print('the reason'); raise SystemExit(3)"
        with pytest.raises(set_up.SetUpError, match=r"(?s)the reason.*ended with 3.*one\.log"):
            shell(sys.executable, "-c", script)


def test_one_set_up_at_a_time(set_up):
    waiter = (
        f"import fcntl, os; fd = os.open({str(set_up.ROOT)!r}, os.O_RDONLY);"
        "fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)"
    )
    with set_up.exclusive():
        held = subprocess.run([sys.executable, "-c", waiter], capture_output=True, text=True)
        assert "BlockingIOError" in held.stderr
    free = subprocess.run([sys.executable, "-c", waiter], capture_output=True, text=True)
    assert free.returncode == 0, free.stderr
