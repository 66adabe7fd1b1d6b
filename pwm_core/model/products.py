# SPDX-License-Identifier: Apache-2.0
"""Matrix products by the fastest there is for them.

On a CPU PyTorch multiplies float32 matrices by MKL, which on processors of other makers than Intel
keeps to AVX2. Where there is AVX-512, ``model.kernels`` is twice as fast; without a C compiler, and
where a wide weight is transposed, oneDNN, which is in PyTorch's wheel, but takes longer to begin.
None has a gradient, so these functions are for code that has its own (``model.layer_gradients``).
"""

from __future__ import annotations

import torch
from torch import Tensor

from pwm_core.model import kernels

_ONEDNN = (
    torch.backends.cpu.get_cpu_capability() == "AVX512" and torch.backends.mkldnn.is_available()
)
"""Without AVX-512 both libraries are about as fast."""

WIDE = 2**20
"""Entries from which on a transposed weight is better multiplied by the library."""


def _by_kernels(x: Tensor, weight: Tensor) -> bool:
    wide = weight.shape[-2] * weight.shape[-1] >= WIDE and weight.stride(-1) != 1
    return not wide and kernels.multiplies(x)


def _by_onednn(x: Tensor) -> bool:
    return _ONEDNN and x.dtype == torch.float32 and x.is_cpu


def product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return ``x [n, in] @ weight [in, out] + bias [out]`` without gradient.

    A ``weight`` of another precision sets that of the product.
    """
    if weight.dtype != x.dtype:
        y = torch.mm(x.to(weight.dtype), weight).to(x.dtype)
        return y if bias is None else y.add_(bias)
    if _by_kernels(x, weight):
        return kernels.products(x, weight, bias)
    return library_product(x, weight, bias)


def library_product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return :func:`product` by the fastest library that PyTorch brings for it."""
    if _by_onednn(x):
        return torch.ops.mkldnn._linear_pointwise(x, weight.mT, bias, "none", [], "")
    return torch.mm(x, weight) if bias is None else torch.addmm(bias, x, weight)


def over_rows(x: Tensor, gradient: Tensor) -> Tensor:
    """Return ``x [n, in].mT @ gradient [n, out]``, the gradient of a weight, as ``[in, out]``.

    Also of each member. oneDNN needs a product's first operand row by row: of the two the narrower
    is turned around.
    """
    multiply = product if x.dim() == 2 else products
    if kernels.multiplies(x) or x.shape[-1] < gradient.shape[-1]:
        return multiply(x.mT, gradient)
    return multiply(gradient.mT, x).mT


def products(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return ``[members, n, out]`` of ``x [members, n, in]``, ``weight [members, in, out]``.

    ``bias [members, 1, out]``. Without gradient.
    """
    if torch.compiler.is_compiling():
        return _opaque(x, weight, bias)
    if _by_kernels(x, weight):
        return kernels.products(x, weight, bias)
    if not _by_onednn(x) or x.shape[1] == 1:  # one row: vector times matrix, which MKL does well
        return torch.bmm(x, weight) if bias is None else torch.baddbmm(bias, x, weight)
    if 1 in weight.shape[1:]:  # a sum or a scaling: no library multiplies such matrices well
        y = (x * weight.mT).sum(-1, keepdim=True) if weight.shape[2] == 1 else x * weight
        return y if bias is None else y + bias
    if len(x) == 1:
        return product(x[0], weight[0], None if bias is None else bias[0, 0]).unsqueeze(0)
    biases = [None] * len(x) if bias is None else bias.squeeze(1).unbind()
    single = [product(*each) for each in zip(x.unbind(), weight.unbind(), biases, strict=True)]
    return torch.stack(single)


@torch.library.custom_op("pwm::products", mutates_args=())
def _opaque(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Do :func:`products`; the compiler itself takes oneDNN's weights for constants."""
    return products(x, weight, bias)


@_opaque.register_fake
def _shape(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return x.new_empty(*x.shape[:2], weight.shape[2])
