# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
import torch
from torch import Tensor

from pwm_core.extraction.actor_critic import Critics
from pwm_core.extraction.flat_parameters import FlatParameters


def critics() -> Critics:
    torch.manual_seed(0)
    return Critics(4, (6,), 2)


def gradients(module: Critics) -> list[Tensor]:
    """Large enough to be clipped at one; the first not row by row in memory."""
    torch.manual_seed(1)
    first, *others = [torch.randn_like(parameter) for parameter in module.parameters()]
    return [first.mT.contiguous().mT, *others]


@pytest.mark.parametrize("largest", [1.0, 1e6])
def test_steps_are_those_of_the_parameters_one_by_one(largest: float) -> None:
    flat, plain = critics(), critics()
    weights = FlatParameters(flat)
    ours = torch.optim.Adam([weights.whole], 0.1, fused=True)
    theirs = torch.optim.Adam(plain.parameters(), 0.1)
    for _ in range(3):
        weights.follow(gradients(flat))
        weights.clip(largest)
        ours.step()
        for parameter, gradient in zip(plain.parameters(), gradients(plain), strict=True):
            parameter.grad = gradient
        torch.nn.utils.clip_grad_norm_(plain.parameters(), largest)
        theirs.step()
    for mine, other in zip(flat.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(mine, other)


def test_a_module_that_loads_weights_stays_in_one_piece() -> None:
    module = critics()
    weights = FlatParameters(module)
    other = {name: value + 1 for name, value in module.state_dict().items()}
    module.load_state_dict(other)
    found = torch.cat([value.flatten() for value in other.values()])
    assert torch.equal(weights.whole.data, found)
