# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import threading
from pathlib import Path

import pytest

from pwm_bringup import processes
from pwm_bringup.nodes import NodeProcess
from pwm_bringup.processes import RosProcess, RosWorkspaceError, environment, leased_domain


def workspace_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """A workspace whose one executable is ``script``."""
    program = tmp_path / "pack" / "lib" / "pack" / "program"
    program.parent.mkdir(parents=True)
    program.write_text(f"#!/bin/bash\n{script}\n")
    program.chmod(0o755)
    (tmp_path / "local_setup.bash").write_text("export FROM_WORKSPACE=$'two\\nlines'\n")
    monkeypatch.setenv("PWM_ROS_INSTALL", str(tmp_path))


def test_a_missing_workspace_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PWM_ROS_INSTALL", str(tmp_path))
    with pytest.raises(RosWorkspaceError, match="run `make setup`"):
        environment()


def test_a_missing_executable_says_what_to_do(tmp_path, monkeypatch) -> None:
    workspace_of(tmp_path, monkeypatch, "true")
    with pytest.raises(RosWorkspaceError, match=r"no pack/other .* run `make setup`"):
        RosProcess("pack", "other")


def test_the_workspace_is_sourced_and_the_domain_set(tmp_path, monkeypatch) -> None:
    workspace_of(tmp_path, monkeypatch, "true")
    variables = environment(domain=42)
    assert variables["FROM_WORKSPACE"] == "two\nlines"
    assert variables["ROS_DOMAIN_ID"] == "42"
    assert variables["ROS_AUTOMATIC_DISCOVERY_RANGE"] == "LOCALHOST"


def test_leased_domains_differ_and_are_given_back(monkeypatch) -> None:
    monkeypatch.setattr(processes, "DOMAINS", range(200, 202))  # nobody else leases these
    with leased_domain() as first, leased_domain() as second:
        assert {first, second} == {200, 201}
        with pytest.raises(RosWorkspaceError, match="all 2 ROS domains"), leased_domain():
            pass
    with leased_domain() as again:
        assert again in (200, 201)


def test_output_is_forwarded_and_the_end_of_it_kept(tmp_path, monkeypatch) -> None:
    workspace_of(tmp_path, monkeypatch, "echo out; echo err >&2; exit 3")
    lines: list[str] = []
    process = RosProcess("pack", "program", sink=lines.append)
    assert process.wait(timeout=30) == 3
    assert lines == ["[program] out", "[program] err"]
    assert list(process.tail) == ["out", "err"]


def test_parameters_keep_their_types(tmp_path, monkeypatch) -> None:
    workspace_of(tmp_path, monkeypatch, 'printf "%s\\n" "$@"')
    node = NodeProcess(
        "pack", "program", {"text": "", "quote": "it's", "yes": True, "half": 0.5}, (("a", "/b"),)
    )
    process = RosProcess.of_node(node, "robot", Path("some.yaml"), "warn", sink=lambda _: None)
    assert process.wait(timeout=30) == 0
    words = list(process.tail)
    assert words[:3] == ["--ros-args", "--log-level", "warn"]
    assert {"__ns:=/robot", "a:=/b", "some.yaml"} <= set(words)
    assert {"text:=''", "quote:='it''s'", "yes:=true", "half:=0.5"} <= set(words)


def started() -> RosProcess:
    """The program, once it has said something."""
    said = threading.Event()
    process = RosProcess("pack", "program", sink=lambda _: said.set())
    assert said.wait(timeout=30)
    return process


def test_a_process_that_does_not_listen_is_ended_more_firmly(tmp_path, monkeypatch) -> None:
    workspace_of(tmp_path, monkeypatch, "trap '' INT TERM; echo up; while :; do sleep 0.1; done")
    patience = tuple((number, 0.3) for number, _ in processes.PATIENCE)
    monkeypatch.setattr(processes, "PATIENCE", patience)
    process = started()
    assert process.stop() == -9


def test_a_process_that_listens_ends_by_itself(tmp_path, monkeypatch) -> None:
    workspace_of(tmp_path, monkeypatch, "trap 'exit 0' INT; echo up; while :; do sleep 0.1; done")
    assert started().stop() == 0


def test_a_policy_node_has_the_time_to_bring_a_robot_to_its_safe_pose() -> None:
    from pwm_policy.loop import LANDING_SECONDS, STOPPING_SECONDS

    _, patience = processes.PATIENCE[0]
    assert patience > LANDING_SECONDS + STOPPING_SECONDS
