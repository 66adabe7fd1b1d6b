# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import subprocess
from pathlib import Path
from unittest.mock import Mock, patch

import pytest

from pwm_export import bundle as bundle_module
from pwm_export.bundle import Bundle
from pwm_policy.registry import PolicyError, PolicyRegistry
from pwm_policy.trust import TrustList


@pytest.fixture
def policies(make_bundle, tmp_path: Path) -> Path:
    make_bundle("upright")
    make_bundle("swing", task="cartpole-swingup")
    return tmp_path / "policies"


@pytest.fixture
def listed(policies: Path, tmp_path: Path) -> Path:
    """A trust list of both policies, written by the tool itself."""
    names = sorted(path.name for path in policies.glob("*.onnx"))
    done = subprocess.run(["sha256sum", *names], cwd=policies, capture_output=True, check=True)
    path = tmp_path / "trusted.sha256"
    path.write_bytes(done.stdout)
    return path


def forget(listed: Path, name: str) -> None:
    """Take a policy out of the list."""
    lines = [line for line in listed.read_text().splitlines() if f"{name}.onnx" not in line]
    listed.write_text("\n".join(lines) + "\n")


def test_listed_bundles_are_used(policies: Path, listed: Path) -> None:
    registry = PolicyRegistry(policies, TrustList(listed))
    registry.scan()
    assert registry.select("upright") == "upright"
    assert registry.names == ["swing", "upright"]
    assert registry.load("swing").sha256 == registry.get("swing").sha256


def test_one_changed_byte_is_refused_by_name_and_digest(policies: Path, listed: Path) -> None:
    path = policies / "swing.onnx"
    before = Bundle.load(path).sha256
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    registry = PolicyRegistry(policies, TrustList(listed))
    registry.scan()
    assert registry.names == ["upright"]
    refusal = registry.refused["swing"]
    assert "bundle swing.onnx: sha256 " in refusal
    assert f"listed with {before}: the file has changed" in refusal
    with pytest.raises(PolicyError, match=r"bundle swing\.onnx: sha256 "):
        registry.load("swing")


def test_a_bundle_that_runs_is_refused_all_the_same(policies: Path, listed: Path) -> None:
    """The other policy's file is a perfect bundle, but not the one listed under this name."""
    (policies / "swing.onnx").write_bytes((policies / "upright.onnx").read_bytes())
    assert Bundle.load(policies / "swing.onnx").task == "cartpole-balance"
    registry = PolicyRegistry(policies, TrustList(listed))
    registry.scan()
    assert "bundle swing.onnx: sha256 " in registry.refused["swing"]


def test_what_was_taken_out_of_the_list_cannot_be_swapped_in(policies: Path, listed: Path) -> None:
    registry = PolicyRegistry(policies, TrustList(listed))
    registry.scan()
    registry.select("upright")
    forget(listed, "swing")
    refusal = r"bundle swing.onnx: sha256 \w{64} is not trusted"
    with pytest.raises(PolicyError, match=refusal):
        registry.get("swing")
    with pytest.raises(PolicyError, match=refusal):
        registry.require_trust(registry.policies["swing"])
    assert registry.get("upright").task == "cartpole-balance"


def test_an_untrusted_file_is_not_even_parsed(
    policies: Path, listed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parse = Mock(side_effect=bundle_module._session)
    monkeypatch.setattr(bundle_module, "_session", parse)
    forget(listed, "swing")
    PolicyRegistry(policies, TrustList(listed)).scan()
    parse.assert_called_once_with((policies / "upright.onnx").read_bytes())


def test_a_file_is_read_once(policies: Path, listed: Path) -> None:
    """Nothing can take its place between the check and the use."""
    with patch.object(Path, "read_bytes", autospec=True, side_effect=Path.read_bytes) as read:
        PolicyRegistry(policies, TrustList(listed)).scan()
    assert [call.args[0].name for call in read.call_args_list] == ["swing.onnx", "upright.onnx"]


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (None, "trust list .*absent.sha256 cannot be read"),
        ("upright.onnx\n", "absent.sha256, line 1: expected 64 hexadecimal digits"),
        ("# nothing yet\n\n", "is not trusted by .*absent.sha256; add it with sha256sum"),
    ],
)
def test_a_list_that_trusts_nothing_refuses_everything(
    policies: Path, tmp_path: Path, content: str | None, complaint: str
) -> None:
    path = tmp_path / "absent.sha256"
    if content is not None:
        path.write_text(content)
    registry = PolicyRegistry(policies, TrustList(path))
    registry.scan()
    assert registry.names == []
    with pytest.raises(PolicyError, match=complaint):
        registry.select()


def test_binary_mode_and_folders_in_the_list_are_read(policies: Path, tmp_path: Path) -> None:
    path = tmp_path / "trusted.sha256"
    done = subprocess.run(
        ["sha256sum", "--binary", str(policies / "upright.onnx")], capture_output=True, check=True
    )
    path.write_bytes(done.stdout)
    registry = PolicyRegistry(policies, TrustList(path))
    registry.scan()
    assert registry.names == ["upright"]
