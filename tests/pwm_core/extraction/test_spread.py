# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
import torch

from pwm_core.extraction.spread import ReturnSpread, TargetSpread

CPU = torch.device("cpu")


def test_returns_deviate_as_all_of_them_together_do() -> None:
    torch.manual_seed(0)
    batches = [torch.randn(16) * scale + 3 for scale in (1.0, 5.0, 0.1)]
    spread = ReturnSpread(CPU)
    for number in range(3):
        found = spread.divisor(batches[number])
        together = torch.cat(batches[: number + 1])
        assert found.item() == pytest.approx(together.std(correction=0).item(), rel=1e-3)


def test_targets_of_iterations_gone_by_divide() -> None:
    spread = TargetSpread(CPU)
    assert spread.divisor(torch.zeros(2)).item() == 1
    spread.observe(torch.tensor([0.0, 4.0]), first=True)
    first = spread.divisor(torch.zeros(2)).item()
    assert first == pytest.approx(8**0.5)
    spread.observe(torch.tensor([1.0, 1.0]), first=False)
    assert spread.divisor(torch.zeros(2)).item() == pytest.approx(0.95 * first)


def test_equal_targets_do_not_divide_by_zero() -> None:
    spread = TargetSpread(CPU)
    spread.observe(torch.ones(4), first=True)
    assert spread.divisor(torch.zeros(2)).item() == pytest.approx(1e-3)
