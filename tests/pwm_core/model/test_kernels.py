# SPDX-License-Identifier: Apache-2.0
"""The compiled kernels against autograd in double precision, and life without a compiler."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from pwm_core.model import kernels
from pwm_core.model.layer_gradients import learned
from pwm_core.model.networks import Mish, SimNorm, mlp

CLOSE: dict[str, Any] = {"rtol": 1e-5, "atol": 1e-5}


@pytest.fixture
def compiled() -> None:
    """These tests are about the compiled functions: elsewhere there is nothing to test."""
    if shutil.which("cc") is None and shutil.which("gcc") is None:
        pytest.skip("no C compiler")
    assert kernels.library() is not None, "a compiler, and yet no kernels"


@pytest.fixture
def anew() -> Iterator[None]:
    """Look for a compiler again, now and after the test."""
    kernels.library.cache_clear()
    yield
    kernels.library.cache_clear()


@pytest.fixture
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def rows(width: int, blocks: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Input ``[blocks, 5, width]`` far from zero, gain, bias, and a gradient of the output."""
    torch.manual_seed(width)
    x = 3 * torch.randn(blocks, 5, width) + 10
    gain, bias = torch.randn(2, blocks, 1, width)
    return x, gain, bias, torch.randn(blocks, 5, width)


def expected(
    activation: nn.Module, x: Tensor, gain: Tensor, bias: Tensor, given: Tensor
) -> list[Tensor]:
    """Output and gradients of input, gain and bias by autograd."""
    inputs = [tensor.double().requires_grad_() for tensor in (x, gain, bias)]
    normal = functional.layer_norm(inputs[0], x.shape[-1:], eps=1e-5)
    y = activation(normal * inputs[1] + inputs[2])
    found = [y, *torch.autograd.grad(y, inputs, given.double())]
    return [tensor.detach().float() for tensor in found]


@pytest.mark.usefixtures("compiled")
@pytest.mark.parametrize("width", [1, 7, 16, 100, 256])
@pytest.mark.parametrize("blocks", [1, 3])
def test_norm_and_mish_are_autograds(width: int, blocks: int) -> None:
    x, gain, bias, given = rows(width, blocks)
    y, kept = kernels.norm_mish(x, gain, bias, 1e-5)
    gradient, own = kernels.norm_mish_back(kept, gain, bias, given)
    for found, wanted in zip(
        [y, gradient, *own], expected(Mish(), x, gain, bias, given), strict=True
    ):
        torch.testing.assert_close(found, wanted, **CLOSE)


@pytest.mark.usefixtures("compiled")
@pytest.mark.parametrize(("width", "group"), [(8, 8), (24, 8), (128, 8), (20, 5), (128, 128)])
@pytest.mark.parametrize("temperature", [1.0, 0.25])
def test_norm_and_simnorm_are_autograds(width: int, group: int, temperature: float) -> None:
    x, gain, bias, given = rows(width, 3)
    gain = 20 * gain  # groups of which one number has nearly all
    y, kept = kernels.norm_simnorm(x, gain, bias, 1e-5, group, temperature)
    gradient, own = kernels.norm_simnorm_back(kept, y, gain, group, temperature, given)
    activation = SimNorm(group, temperature)
    wanted = expected(activation, x, gain, bias, given)
    for found, right in zip([y, gradient, *own], wanted, strict=True):
        torch.testing.assert_close(found, right, rtol=1e-4, atol=1e-4)


@pytest.mark.usefixtures("compiled")
@pytest.mark.parametrize(
    ("layout", "copied"),
    [("as it is", False), ("by row", False), ("narrowed", True), ("every other", True)],
)
@pytest.mark.parametrize("shared", [False, True])
def test_rows_may_lie_anyhow(layout: str, copied: bool, shared: bool) -> None:
    """Whatever the strides, with a gain per block or one for all; only the usual are not copied."""
    plain, gain, bias, given = rows(16, 3)
    layouts = {
        "as it is": plain,
        "by row": plain.transpose(0, 1).contiguous().transpose(0, 1),
        "narrowed": torch.cat([plain, plain], 2)[:, :, :16],
        "every other": plain.repeat_interleave(2, 1)[:, ::2],
    }
    x = layouts[layout]
    if shared:
        gain, bias = gain[0, 0], bias[0, 0]
    y, kept = kernels.norm_mish(x, gain, bias, 1e-5)
    gradient, own = kernels.norm_mish_back(kept, gain, bias, given)
    wanted = expected(Mish(), plain, gain, bias, given)
    for found, right in zip([y, gradient, *own], wanted, strict=True):
        torch.testing.assert_close(found, right, **CLOSE)
    gain, bias = 5 * gain, 5 * bias
    y, kept = kernels.norm_simnorm(x, gain, bias, 1e-5, 8, 1.0)
    gradient, own = kernels.norm_simnorm_back(kept, y, gain, 8, 1.0, given)
    wanted = expected(SimNorm(8), plain, gain, bias, given)
    for found, right in zip([y, gradient, *own], wanted, strict=True):
        torch.testing.assert_close(found, right, rtol=1e-4, atol=1e-4)
    assert (kept[0] is not x) == (copied or (shared and layout == "by row"))


@pytest.mark.usefixtures("compiled")
@pytest.mark.parametrize(
    ("gain", "bias"),
    [
        (torch.ones(8), torch.ones(16)),
        (torch.ones(16), torch.ones(3, 1, 16)),
        (torch.ones(2, 1, 16), torch.ones(2, 1, 16)),
        (torch.ones(1).expand(16), torch.ones(16)),
        (torch.ones(16), torch.ones(16, dtype=torch.float64)),
    ],
)
def test_gain_and_bias_that_do_not_fit_are_refused(gain: Tensor, bias: Tensor) -> None:
    x = rows(16, 3)[0]
    with pytest.raises(ValueError, match=r"no norm of x torch\.float32 \[3, 5, 16\] with gain"):
        kernels.norm_mish(x, gain, bias, 1e-5)
    with pytest.raises(ValueError, match="no norm of x"):
        kernels.norm_simnorm(x, gain, bias, 1e-5, 8, 1.0)


@pytest.mark.usefixtures("compiled")
@pytest.mark.parametrize("group", [-8, 0, 12, 32])
def test_groups_that_do_not_divide_the_row_are_refused(group: int) -> None:
    x, gain, bias, _ = rows(16, 3)
    with pytest.raises(ValueError, match=f"no groups of {group} in rows of 16"):
        kernels.norm_simnorm(x, gain, bias, 1e-5, group, 1.0)


@pytest.mark.usefixtures("compiled")
def test_extremes_stay_finite_and_not_a_number_stays_so() -> None:
    x, gain, bias, given = rows(16, 1)
    y, kept = kernels.norm_mish(x, 500 * gain, bias, 1e-5)
    torch.testing.assert_close(y, expected(Mish(), x, 500 * gain, bias, given)[0], **CLOSE)
    gradient, _ = kernels.norm_mish_back(kept, 500 * gain, bias, given)
    assert gradient.isfinite().all()
    y, _ = kernels.norm_simnorm(x, 500 * gain, bias, 1e-5, 8, 0.1)
    torch.testing.assert_close(y.unflatten(-1, (-1, 8)).sum(-1), torch.ones(1, 5, 2))
    x[0, 2, 3] = float("nan")
    for y, _ in (
        kernels.norm_mish(x, gain, bias, 1e-5),
        kernels.norm_simnorm(x, gain, bias, 1e-5, 8, 1.0),
    ):
        assert y[0, 2].isnan().all()
        assert y[0, [0, 1, 3, 4]].isfinite().all()


@pytest.mark.usefixtures("compiled")
@pytest.mark.parametrize("blocks", [(), (3,)])
def test_of_a_product_of_no_inputs_the_bias_remains(blocks: tuple[int, ...]) -> None:
    x, weight = torch.randn(*blocks, 5, 0), torch.randn(*blocks, 0, 7)
    bias = torch.randn(*blocks, 1, 7) if blocks else torch.randn(7)
    assert torch.equal(kernels.products(x, weight, bias), bias.expand(*blocks, 5, 7))
    assert torch.equal(kernels.products(x, weight), torch.zeros(*blocks, 5, 7))


@pytest.mark.usefixtures("compiled", "threads")
def test_threads_share_the_rows() -> None:
    x, gain, bias, given = rows(32, 3)
    found = []
    for count in (1, 2, 4):
        torch.set_num_threads(count)
        y, kept = kernels.norm_mish(x, gain, bias, 1e-5)
        gradient, own = kernels.norm_mish_back(kept, gain, bias, given)
        found.append([y, gradient, *own])
    for other in found[1:]:
        for mine, theirs in zip(found[0], other, strict=True):
            torch.testing.assert_close(mine, theirs)


@pytest.mark.usefixtures("compiled")
def test_only_float32_on_a_cpu_can_be_taken() -> None:
    assert kernels.usable(torch.zeros(2, 8))
    assert not kernels.usable(torch.zeros(2, 8, dtype=torch.float64))
    assert not kernels.usable(torch.zeros(2, 8, device="meta"))


@pytest.mark.usefixtures("anew")
def test_without_a_compiler_networks_run_as_well(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    network = mlp([6, 16, 16], lambda inputs, outputs: [nn.Linear(inputs, outputs)])
    x = torch.randn(4, 6)
    before = torch.autograd.grad(learned(network, x).sum(), list(network.parameters()))
    kernels.library.cache_clear()
    monkeypatch.setenv("PATH", str(tmp_path))
    assert kernels.library() is None
    after = torch.autograd.grad(learned(network, x).sum(), list(network.parameters()))
    for mine, theirs in zip(before, after, strict=True):
        torch.testing.assert_close(mine, theirs)


@pytest.mark.usefixtures("anew", "compiled")
def test_the_compiled_file_is_kept_and_a_useless_compiler_is_none(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    kernels.library.cache_clear()
    assert kernels.library() is not None
    (made,) = (tmp_path / "cache/pwm-deploy").iterdir()
    written = made.stat().st_mtime_ns
    kernels.library.cache_clear()
    assert kernels.library() is not None
    assert made.stat().st_mtime_ns == written

    (tmp_path / "cc").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "cc").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    kernels.library.cache_clear()
    assert kernels.library() is None


@pytest.mark.usefixtures("anew", "compiled")
def test_a_damaged_file_is_compiled_anew(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "whole"))
    kernels.library.cache_clear()
    assert kernels.library() is not None
    (whole,) = (tmp_path / "whole/pwm-deploy").iterdir()

    damaged = tmp_path / "damaged/pwm-deploy" / whole.name
    damaged.parent.mkdir(mode=0o700, parents=True)
    damaged.touch()  # as a power failure leaves it
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "damaged"))
    kernels.library.cache_clear()
    assert kernels.library() is not None
    assert damaged.stat().st_size == whole.stat().st_size


@pytest.mark.usefixtures("anew", "compiled")
def test_a_cache_that_anybody_may_write_to_is_not_used(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    kernels.library.cache_clear()
    assert kernels.library() is not None
    (tmp_path / "pwm-deploy").chmod(0o777)
    kernels.library.cache_clear()
    assert kernels.library() is None


@pytest.mark.usefixtures("anew", "compiled")
def test_they_can_be_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PWM_KERNELS", "0")
    kernels.library.cache_clear()
    assert kernels.library() is None
