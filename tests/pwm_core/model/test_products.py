# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
import torch

from pwm_core.model.products import (
    joint_over_rows,
    joint_products,
    over_rows,
    product,
    products,
    products_over_rows,
)

SIZES = [(5, 7, 3), (5, 3, 7), (1, 7, 3), (5, 1, 3), (5, 7, 1), (1, 1, 1)]
"""Rows, inputs and outputs: libraries take other ways where a side is one."""


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize(("rows", "inputs", "outputs"), SIZES)
def test_product(rows: int, inputs: int, outputs: int) -> None:
    x, weight, bias = torch.randn(rows, inputs), torch.randn(inputs, outputs), torch.randn(outputs)
    torch.testing.assert_close(product(x, weight), x @ weight)
    torch.testing.assert_close(product(x, weight, bias), x @ weight + bias)
    gradient = torch.randn(rows, outputs)
    torch.testing.assert_close(over_rows(x, gradient), x.mT @ gradient)


@pytest.mark.parametrize(("rows", "inputs", "outputs"), SIZES)
@pytest.mark.parametrize("members", [1, 3])
def test_products_of_members(members: int, rows: int, inputs: int, outputs: int) -> None:
    x, weight = torch.randn(members, rows, inputs), torch.randn(members, inputs, outputs)
    bias, gradient = torch.randn(members, 1, outputs), torch.randn(members, rows, outputs)
    torch.testing.assert_close(products(x, weight), x @ weight)
    torch.testing.assert_close(products(x, weight, bias), x @ weight + bias)
    torch.testing.assert_close(products_over_rows(x, gradient), x.mT @ gradient)
    torch.testing.assert_close(joint_products(x[0], weight, bias), x[0] @ weight + bias)
    torch.testing.assert_close(joint_over_rows(x[0], gradient), x[0].mT @ gradient)
