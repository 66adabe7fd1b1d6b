# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from pwm_core.checkpoint import (
    CheckpointError,
    load_checkpoint,
    load_optimizer,
    load_weights,
    optimizer_tensors,
    part,
    prefixed,
    save_checkpoint,
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "x.safetensors"
    save_checkpoint(path, {"a": torch.arange(6.0).reshape(2, 3).T}, {"step": 3})
    return path


def test_round_trip_of_a_view(file: Path) -> None:
    tensors, header = load_checkpoint(file)
    assert header == {"step": 3}
    assert torch.equal(tensors["a"], torch.tensor([[0.0, 3], [1, 4], [2, 5]]))
    assert [p.name for p in file.parent.iterdir()] == ["x.safetensors"]


@pytest.mark.parametrize("keep", [0, 4, 30, -1])
def test_half_a_file_is_refused_by_name(file: Path, keep: int) -> None:
    file.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(CheckpointError, match=r"x\.safetensors is no PWM checkpoint or is damaged"):
        load_checkpoint(file)


def test_garbage_in_the_header(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[8:40] = b"\x00" * 32
    file.write_bytes(content)
    with pytest.raises(CheckpointError, match="damaged"):
        load_checkpoint(file)


def test_someone_elses_safetensors(tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    save_file({"a": torch.zeros(2)}, path)
    with pytest.raises(CheckpointError, match="no PWM checkpoint"):
        load_checkpoint(path)


def test_missing(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"none\.safetensors does not exist"):
        load_checkpoint(tmp_path / "none.safetensors")


def test_failed_write_leaves_the_old_file(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = file.read_bytes()

    def broken(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("os.replace", broken)
    with pytest.raises(KeyboardInterrupt):
        save_checkpoint(file, {"a": torch.zeros(9)}, {"step": 4})
    assert file.read_bytes() == before
    assert [p.name for p in file.parent.iterdir()] == ["x.safetensors"]


def test_weights_that_do_not_fit_are_named() -> None:
    module = torch.nn.Linear(2, 3)
    with pytest.raises(CheckpointError) as caught:
        load_weights(module, {"weight": torch.zeros(3, 4), "gain": torch.zeros(1)}, Path("w.st"))
    message = str(caught.value)
    assert "w.st does not fit" in message
    assert "weight is (3, 4), expected (3, 2)" in message
    assert "bias is missing, expected (3,)" in message
    assert "gain is (1,), expected nothing" in message


def test_parts_by_prefix() -> None:
    tensors = prefixed("actor", {"w": torch.ones(1)}) | prefixed("actor_b", {"w": torch.zeros(1)})
    assert list(part("actor", tensors)) == ["w"]
    assert part("actor", tensors)["w"].item() == 1


@pytest.mark.parametrize("fused", [False, True])
def test_optimizer_goes_on_as_if_never_stopped(tmp_path: Path, fused: bool) -> None:
    def train(weight: torch.Tensor, optimizer: torch.optim.Optimizer, steps: range) -> None:
        for i in steps:
            optimizer.zero_grad()
            ((weight - i) ** 2).sum().backward()
            optimizer.step()

    def fresh(start: torch.Tensor) -> tuple[torch.nn.Parameter, torch.optim.Adam]:
        weight = torch.nn.Parameter(start.clone())
        return weight, torch.optim.Adam([weight], 0.1, fused=fused)

    straight, optimizer = fresh(torch.zeros(3))
    train(straight, optimizer, range(6))
    first, optimizer = fresh(torch.zeros(3))
    train(first, optimizer, range(3))
    save_checkpoint(tmp_path / "o", optimizer_tensors(optimizer), {})
    second, optimizer = fresh(first.detach())
    load_optimizer(optimizer, load_checkpoint(tmp_path / "o")[0])
    train(second, optimizer, range(3, 6))
    assert torch.equal(straight, second)
