# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
import torch

from pwm_core.extraction.actor_critic import Critics, Networks
from pwm_core.extraction.critic_gradient import critic_gradient
from pwm_core.extraction.loss import critic_loss


@pytest.mark.parametrize("networks", ["norm-mish", "mish-norm"])
@pytest.mark.parametrize("hidden", [(7, 5), (6,), ()])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_gradient_by_hand_is_autograds(
    networks: Networks, hidden: tuple[int, ...], dtype: torch.dtype
) -> None:
    """In double precision by PyTorch's operators, in single precision by compiled kernels."""
    torch.manual_seed(0)
    critics = Critics(4, hidden, 3, networks).to(dtype)
    for parameter in critics.parameters():
        torch.nn.init.normal_(parameter)
    z, target = torch.randn(9, 4, dtype=dtype), torch.randn(9, dtype=dtype)
    expected = critic_loss(critics, z, target)
    gradients = torch.autograd.grad(expected, list(critics.parameters()))
    found, own = critic_gradient(critics, z, target)
    tolerance = 1e-9 if dtype == torch.float64 else 1e-4
    torch.testing.assert_close(found, expected.detach(), rtol=tolerance, atol=tolerance)
    for mine, theirs in zip(own, gradients, strict=True):
        assert theirs.abs().max() > 0
        torch.testing.assert_close(mine, theirs, rtol=tolerance, atol=tolerance)


def test_large_inputs_of_mish_stay_finite() -> None:
    """Beyond 20, exp would overflow long before Mish does."""
    torch.manual_seed(0)
    critics = Critics(4, (8,), 2)
    with torch.no_grad():
        critics.network[1].get_parameter("gain").fill_(500.0)
    z, target = torch.randn(9, 4), torch.randn(9)
    expected = critic_loss(critics, z, target)
    gradients = torch.autograd.grad(expected, list(critics.parameters()))
    found, own = critic_gradient(critics, z, target)
    torch.testing.assert_close(found, expected.detach())
    for mine, theirs in zip(own, gradients, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-5)


def test_start_states_are_left_alone() -> None:
    torch.manual_seed(0)
    critics = Critics(4, (8,), 2)
    z, target = torch.randn(9, 4), torch.randn(9)
    before = z.clone(), target.clone()
    critic_gradient(critics, z, target)
    assert torch.equal(z, before[0])
    assert torch.equal(target, before[1])


def test_compiled_gradient_is_that_by_hand() -> None:
    """Of two ensembles one after the other, which share the compiled function."""
    torch.manual_seed(0)
    for critics in (Critics(4, (8,), 2), Critics(4, (8,), 2)):
        z, target = torch.randn(9, 4), torch.randn(9)
        expected, gradients = critic_gradient(critics, z, target)
        found, own = critic_gradient(critics, z, target, compiled=True)
        torch.testing.assert_close(found, expected)
        for mine, theirs in zip(own, gradients, strict=True):
            torch.testing.assert_close(mine, theirs)
