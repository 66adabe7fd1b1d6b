# SPDX-License-Identifier: Apache-2.0
"""The fused norms' formulas against autograd on any machine; compiled where CUDA is."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from pwm_core.extraction.actor_critic import StackedNorm
from pwm_core.model import compiled_norms
from pwm_core.model.networks import Mish, SimNorm

DEVICES = [
    "cpu",
    pytest.param(
        "cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
    ),
]


@pytest.fixture(autouse=True)
def as_written() -> Iterator[None]:
    """On a CPU the functions run as they are written: to compile them takes half a minute."""
    stance = "default" if torch.cuda.is_available() else "force_eager"
    with torch.compiler.set_stance(stance):
        yield


def norms(width: int) -> list[nn.Module]:
    """A LayerNorm, and one of three members with weights of their own."""
    torch.manual_seed(0)
    drawn = [nn.Parameter(torch.randn(3, 1, width)) for _ in range(2)]
    plain = nn.LayerNorm(width)
    nn.init.normal_(plain.weight)
    nn.init.normal_(plain.bias)
    return [plain, StackedNorm(*drawn)]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("then", [Mish(), SimNorm(4), SimNorm(8, temperature=0.7)])
@pytest.mark.parametrize("kind", [0, 1])
def test_as_autograd_has_it(device: str, then: nn.Module, kind: int) -> None:
    norm = norms(24)[kind].to(device)
    x = (3 * torch.randn(3, 5, 24, device=device)).requires_grad_()
    given = torch.randn(3, 5, 24, device=device)
    expected = then(norm(x))
    wanted: list[Tensor] = list(torch.autograd.grad(expected, [x, *norm.parameters()], given))
    with torch.no_grad():
        y, saved = compiled_norms.forward(norm, then, x.detach())
        gradient, own = compiled_norms.backward(norm, then, saved, given, learning=True)
        frozen = compiled_norms.backward(norm, then, saved, given, learning=False)
    torch.testing.assert_close(y, expected, rtol=1e-5, atol=1e-5)
    for found, value in zip([gradient, *own], wanted, strict=True):
        torch.testing.assert_close(found, value, rtol=1e-4, atol=1e-4)
    assert frozen[1] == []
    torch.testing.assert_close(frozen[0], gradient)


def test_not_for_a_cpu() -> None:
    assert not compiled_norms.usable(torch.zeros(2, 3))
