# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
import torch

from pwm_core.model.two_hot import TwoHot, symexp, symlog

VALUES = torch.tensor([0.0, 1e-3, -1e-3, 0.5, 1.999, 2.0, -2.0, 7.3, 150.0, -4000.0])


@pytest.mark.parametrize("logarithmic", [True, False])
def test_encodes_as_the_reference(reference, logarithmic: bool) -> None:
    code = TwoHot(21, -5.0, 5.0, logarithmic)
    values = torch.cat([VALUES, code.centres, torch.tensor([1e9, -1e9])])
    expected = [reference.two_hot(v, code.centres.tolist(), logarithmic) for v in values.tolist()]
    torch.testing.assert_close(code.encode(values), torch.tensor(expected), atol=2e-6, rtol=1e-5)


def test_weights_are_two_neighbours_that_sum_to_one() -> None:
    weights = TwoHot(101, -10, 10, True).encode(torch.randn(7, 5) * 50)
    assert weights.shape == (7, 5, 101)
    torch.testing.assert_close(weights.sum(-1), torch.ones(7, 5))
    assert ((weights > 0).sum(-1) <= 2).all()
    assert (weights >= 0).all()


@pytest.mark.parametrize("logarithmic", [True, False])
def test_decode_inverts_encode(logarithmic: bool) -> None:
    code = TwoHot(101, -10, 10, logarithmic)
    values = VALUES if logarithmic else VALUES.clamp(-10, 10)
    logits = code.encode(values).clamp(min=1e-30).log()
    torch.testing.assert_close(code.decode(logits), values, rtol=1e-4, atol=1e-5)


def test_values_beyond_the_bins_take_the_last() -> None:
    code = TwoHot(11, -1, 1, False)
    weights = code.encode(torch.tensor([5.0, -5.0]))
    assert weights[0, -1] == 1
    assert weights[1, 0] == 1


def test_loss_is_smallest_at_its_own_code() -> None:
    code = TwoHot(21, -5, 5, True)
    value = torch.tensor([0.7])
    best = code.encode(value).clamp(min=1e-12).log().requires_grad_()
    code.loss(best, value).sum().backward()
    assert best.grad.abs().max() < 1e-5
    other = code.encode(torch.tensor([1.2])).clamp(min=1e-12).log()
    assert code.loss(other, value) > code.loss(best, value) + 0.1


def test_symlog_round_trip() -> None:
    torch.testing.assert_close(symexp(symlog(VALUES)), VALUES)
    torch.testing.assert_close(symlog(-VALUES), -symlog(VALUES))
