# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from pwm_core.model import kernels
from pwm_core.model.products import over_rows, product, products

SIZES = [(5, 7, 3), (5, 3, 7), (1, 7, 3), (5, 1, 3), (5, 7, 1), (1, 1, 1), (27, 300, 97)]
"""Rows, inputs and outputs: ways part where a side is one, where a tile ends, and at depth 256."""


@pytest.fixture(autouse=True, params=["kernels", "libraries"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Multiply by the kernels, where there are any, and without them."""
    torch.manual_seed(0)
    if request.param == "libraries":
        monkeypatch.setattr(kernels, "usable", lambda x: False)
    elif not kernels.multiplies(torch.zeros(1)):
        pytest.skip("no C compiler, or no AVX-512")


def close(found: Tensor, x: Tensor, weight: Tensor, bias: Tensor | float = 0.0) -> None:
    expected = x.double() @ weight.double() + bias
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize(("rows", "inputs", "outputs"), SIZES)
def test_product(rows: int, inputs: int, outputs: int) -> None:
    x, weight, bias = torch.randn(rows, inputs), torch.randn(inputs, outputs), torch.randn(outputs)
    gradient = torch.randn(rows, outputs)
    close(product(x, weight), x, weight)
    close(product(x, weight, bias), x, weight, bias)
    close(product(gradient, weight.mT), gradient, weight.mT)
    close(over_rows(x, gradient), x.mT, gradient)


def test_a_wide_weight_transposed() -> None:
    gradient, weight = torch.randn(2, 3, 1024), torch.randn(2, 1024, 1024)
    close(product(gradient[0], weight[0].mT), gradient[0], weight[0].mT)
    close(products(gradient, weight.mT), gradient, weight.mT)


@pytest.mark.parametrize(("rows", "inputs", "outputs"), SIZES)
@pytest.mark.parametrize("members", [1, 3])
def test_products_of_members(members: int, rows: int, inputs: int, outputs: int) -> None:
    x, weight = torch.randn(members, rows, inputs), torch.randn(members, inputs, outputs)
    bias, gradient = torch.randn(members, 1, outputs), torch.randn(members, rows, outputs)
    close(products(x, weight), x, weight)
    close(products(x, weight, bias), x, weight, bias)
    close(products(gradient, weight.mT), gradient, weight.mT)
    close(over_rows(x, gradient), x.mT, gradient)


@pytest.mark.parametrize(
    "layout",
    [
        lambda x: x[:1].expand_as(x),
        lambda x: x.transpose(0, 1).contiguous().transpose(0, 1),
        lambda x: torch.cat([x, x], 2)[:, :, : x.shape[2]],
        lambda x: torch.stack([x, x], 3)[..., 0],
    ],
    ids=["shared", "by row", "narrowed", "every other"],
)
def test_operands_may_lie_anyhow(layout: Callable[[Tensor], Tensor]) -> None:
    x, weight = layout(torch.randn(3, 14, 9)), layout(torch.randn(3, 9, 35))
    close(products(x, weight), x, weight)
    gradient = layout(torch.randn(3, 14, 35))
    close(products(gradient, weight.mT), gradient, weight.mT)
    close(over_rows(x, gradient), x.mT, gradient)


def test_threads_change_nothing() -> None:
    if not kernels.multiplies(torch.zeros(1)):
        pytest.skip("libraries promise nothing")
    x, weight = torch.randn(3, 200, 300), torch.randn(3, 300, 70)
    found = []
    for count in (1, 2, 3):
        torch.set_num_threads(count)
        found.append(products(x, weight))
    assert all(torch.equal(found[0], other) for other in found[1:])


@pytest.mark.parametrize(
    ("x", "weight", "bias"),
    [
        ((5, 7), (6, 3), None),
        ((2, 5, 7), (3, 7, 3), None),
        ((5, 7), (7, 3), (4,)),
        ((2, 5, 7), (2, 7, 3), (1, 1, 3)),
    ],
)
def test_what_does_not_fit_is_refused(
    x: tuple[int, ...], weight: tuple[int, ...], bias: tuple[int, ...] | None
) -> None:
    multiply = product if len(x) == 2 else products
    if not kernels.usable(torch.zeros(1)):
        pytest.skip("the libraries refuse by themselves, or broadcast")
    with pytest.raises(ValueError, match="no product of x"):
        multiply(torch.randn(x), torch.randn(weight), bias and torch.randn(bias))
