# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from pwm_policy.registry import Acting, PolicyError, PolicyRegistry


@pytest.fixture
def registry(make_bundle, tmp_path: Path) -> PolicyRegistry:
    make_bundle("upright")
    make_bundle("swing", task="cartpole-swingup")
    return PolicyRegistry(tmp_path / "policies")


def test_every_bundle_is_found_by_its_file_name(registry: PolicyRegistry) -> None:
    registry.scan()
    assert registry.names == ["swing", "upright"]
    assert registry.get("swing").task == "cartpole-swingup"


def test_a_bad_bundle_does_not_stop_the_others(registry: PolicyRegistry) -> None:
    broken = registry.directory / "broken.onnx"
    broken.write_bytes((registry.directory / "swing.onnx").read_bytes()[:100])
    registry.scan()
    assert registry.names == ["swing", "upright"]
    assert "broken.onnx" in registry.refused["broken"]
    with pytest.raises(PolicyError, match="policy 'broken' was refused: "):
        registry.get("broken")


@pytest.mark.parametrize(
    ("name", "task", "chosen"),
    [
        ("upright", "cartpole-swingup", "upright"),
        ("", "cartpole-swingup", "swing"),
        ("", "cartpole-balance", "upright"),
    ],
)
def test_choice_of_the_first_policy(
    registry: PolicyRegistry, name: str, task: str, chosen: str
) -> None:
    registry.scan()
    assert registry.select(name, task) == chosen


def test_of_several_policies_one_must_be_asked_for(registry: PolicyRegistry, make_bundle) -> None:
    registry.scan()
    with pytest.raises(PolicyError, match="2 policies and no task: say which of swing, upright"):
        registry.select()
    make_bundle("also-upright")
    registry.scan()
    with pytest.raises(PolicyError, match="2 policies for task cartpole-balance: say which of"):
        registry.select(task="cartpole-balance")
    make_bundle("cartpole-balance")
    registry.scan()
    assert registry.select(task="cartpole-balance") == "cartpole-balance", "it has the task's name"


def test_what_acted_before_is_resumed_if_it_is_the_same(registry, make_bundle) -> None:
    registry.scan()
    acted = Acting("upright", registry.get("upright").sha256)
    assert registry.resume(acted) == "upright"
    make_bundle("upright", (1.0, 0, 0, 0, 0))
    registry.scan()
    with pytest.raises(PolicyError, match=r"upright\.onnx is not the one that acted"):
        registry.resume(acted)
    with pytest.raises(PolicyError, match="unknown policy 'gone'"):
        registry.resume(Acting("gone", acted.sha256))


def test_policies_of_another_rate_or_layout_are_refused(registry, make_bundle) -> None:
    make_bundle("slow", control_step=0.04)
    registry.scan()
    registry.select("upright")
    assert registry.names == ["swing", "upright"]
    assert "control step is 0.04 s, expected 0.02 s" in registry.refused["slow"]


def test_unknown_names_list_the_known(registry: PolicyRegistry) -> None:
    registry.scan()
    with pytest.raises(PolicyError, match="unknown policy 'x': the policies are swing, upright"):
        registry.get("x")
    with pytest.raises(PolicyError, match="no policy for task walker-walk"):
        registry.select(task="walker-walk")


@pytest.mark.parametrize("name", ["../outside", "/etc/passwd", "", "upright.onnx", "./upright"])
def test_a_name_is_never_a_path(registry: PolicyRegistry, name: str) -> None:
    shutil.copy(registry.directory / "upright.onnx", registry.directory.parent / "outside.onnx")
    registry.scan()
    registry.select("upright")
    with pytest.raises(PolicyError, match="no bundle"):
        registry.load(name)


def test_load_reads_a_new_file_and_put_makes_it_known(registry, make_bundle) -> None:
    registry.scan()
    registry.select("upright")
    make_bundle("late")
    bundle = registry.load("late")
    assert "late" not in registry.names
    registry.put("late", bundle)
    assert registry.get("late") is bundle


def test_load_refuses_what_does_not_fit(registry, make_bundle) -> None:
    registry.scan()
    registry.select("upright")
    make_bundle("slow", control_step=0.04)
    with pytest.raises(PolicyError, match=r"slow\.onnx: control step"):
        registry.load("slow")


def test_directories_without_policies(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match="does not exist"):
        PolicyRegistry(tmp_path / "nowhere").scan()
    with pytest.raises(PolicyError, match="holds no"):
        PolicyRegistry(tmp_path).scan()


def test_only_bad_bundles_give_their_reasons(tmp_path: Path) -> None:
    (tmp_path / "bad.onnx").write_text("no")
    registry = PolicyRegistry(tmp_path)
    registry.scan()
    with pytest.raises(PolicyError, match=r"no usable bundle .* bad\.onnx: "):
        registry.select()


def test_policies_of_another_rate_than_the_robots_are_refused(registry, make_bundle) -> None:
    make_bundle("slow", control_step=0.04)
    registry.scan()
    registry.require_rate(0.0)
    assert registry.names == ["slow", "swing", "upright"]
    registry.require_rate(25.0)
    assert registry.names == ["slow"]
    assert registry.refused["swing"] == ("policy swing decides at 50 Hz, the robot expects 25 Hz")
    assert registry.select() == "slow"
