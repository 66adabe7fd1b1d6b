# SPDX-License-Identifier: Apache-2.0
"""Layers of small networks by C compiled on first use.

LayerNorm with the Mish or SimNorm after it goes over memory once (``norms.c``): PyTorch makes a
dozen operators of the two, and a network of the usual sizes spends as long in them as in its
products. Products (``products.c``) are summed from where their operands lie, without a library's
cost per call.

Where there is a C compiler, this takes a second to compile, once per machine, and lies in the
user's cache from then on; everywhere else callers do without, see :func:`usable`.
``PWM_KERNELS=0`` does without them too.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import shutil
import stat
import subprocess
import tempfile
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

SOURCES = [Path(__file__).with_name(name) for name in ("norms.c", "products.c")]
_FLAGS = ["-std=c11", "-O3", "-fPIC", "-shared"]
_FLAGS += ["-ffp-contract=fast", "-fno-math-errno", "-fno-trapping-math"]
_WIDTHS = {
    "AVX512": ["-march=x86-64-v4", "-mprefer-vector-width=512"],
    "AVX2": ["-march=x86-64-v3"],
}
"""By what PyTorch found of the processor, so that a cache shared by machines fits each of them."""
_PARALLEL: tuple[list[str], ...] = (["-fopenmp"], ["-fopenmp-simd"], [])
"""Compilers without OpenMP's library have its vectors at least."""
_POINTER, _COUNT, _REAL = ctypes.c_void_p, ctypes.c_long, ctypes.c_float
_ARGUMENTS = {
    "norm_mish": [*[_COUNT] * 6, _REAL, *[_POINTER] * 6],
    "norm_simnorm": [*[_COUNT] * 6, _REAL, *[_POINTER] * 6, _COUNT, _REAL],
    "norm_mish_back": [*[_COUNT] * 6, *[_POINTER] * 8],
    "norm_simnorm_back": [*[_COUNT] * 6, *[_POINTER] * 8, _COUNT, _REAL],
    "products": [*[_COUNT] * 5, *[_POINTER, *[_COUNT] * 3] * 2, *[_POINTER, _COUNT] * 2, _COUNT],
}

Kept = tuple[Tensor, Tensor, Tensor]
"""Input, mean and 1 / deviation of each row: what the way back needs of a norm."""


def usable(x: Tensor) -> bool:
    """Return whether these functions can take ``x``: float32 on a CPU, and a compiler was found."""
    fits = x.dtype == torch.float32 and x.is_cpu
    return fits and not torch.compiler.is_compiling() and library() is not None


def multiplies(x: Tensor) -> bool:
    """Return whether :func:`products` can take ``x`` and is faster than PyTorch's libraries."""
    return torch.backends.cpu.get_cpu_capability() == "AVX512" and usable(x)


def products(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return ``x [rows, in] @ weight [in, out] + bias [out]``, of each block where there are any.

    With blocks these are ``[blocks, rows, in]``, ``[blocks, in, out]`` and ``[blocks, 1, out]``.
    Operands may be transposed, slices or expanded; the result is contiguous. ``ValueError`` if they
    do not fit: the kernel would read past their ends.
    """
    *blocks, rows, depth = x.shape
    columns = weight.shape[-1]
    _require_fit(x, weight, bias)
    if depth == 0:  # of no parts the kernel would write no sum
        nothing = x.new_zeros(*blocks, rows, columns)
        return nothing if bias is None else nothing + bias
    if 1 not in x.stride()[-2:]:
        x = x.contiguous()
    y = x.new_empty(*blocks, rows, columns)
    block = (lambda tensor: tensor.stride(0)) if blocks else (lambda tensor: 0)
    given = (None, 0) if bias is None else (bias.data_ptr(), block(bias))
    _library().products(
        *(torch.get_num_threads(), *(blocks or [1]), rows, columns, depth),
        *(x.data_ptr(), block(x), *x.stride()[-2:]),
        *(weight.data_ptr(), block(weight), *weight.stride()[-2:]),
        *(*given, y.data_ptr(), block(y), columns),
    )
    return y


def _require_fit(x: Tensor, weight: Tensor, bias: Tensor | None) -> None:
    *blocks, _, depth = x.shape
    fits = weight.dtype == x.dtype and weight.shape[:-1] == (*blocks, depth)
    if bias is not None and fits:
        columns = weight.shape[-1]
        fits = bias.dtype == x.dtype and (bias.stride(-1) == 1 or columns == 1)
        fits = fits and bias.shape == ((*blocks, 1, columns) if blocks else (columns,))
    if not fits:
        told = [t if t is None else f"{t.dtype} {list(t.shape)}" for t in (x, weight, bias)]
        raise ValueError("no product of x {}, weight {}, bias {}".format(*told))


def norm_mish(x: Tensor, gain: Tensor, bias: Tensor, epsilon: float) -> tuple[Tensor, Kept]:
    """Return ``mish(layer_norm(x))`` of ``x [blocks, rows, width]``, or without ``blocks``.

    ``gain`` and ``bias`` are ``[blocks, 1, width]`` or ``[width]``. ``ValueError`` if they do not
    fit: the kernel would read past their ends.
    """
    _require_normed(x, gain, bias)
    x, y, mean, scale = _forward_arrays(x, gain)
    pointers = _pointers(x, gain, bias, y, mean, scale)
    _library().norm_mish(*_sizes(x, gain), epsilon, *pointers)
    return y, (x, mean, scale)


def norm_mish_back(
    kept: Kept, gain: Tensor, bias: Tensor, given: Tensor
) -> tuple[Tensor, list[Tensor]]:
    """Return the gradients of ``x``, and of gain and bias, for ``given``, that of the output."""
    x, mean, scale = kept
    sizes = _sizes(x, gain)
    given, gradient, sums = _backward_arrays(x, given, gain, sizes[0])
    pointers = _pointers(x, gain, bias, mean, scale, given, gradient, sums)
    _library().norm_mish_back(*sizes, *pointers)
    return gradient, _summed(sums)


def norm_simnorm(
    x: Tensor, gain: Tensor, bias: Tensor, epsilon: float, group: int, temperature: float
) -> tuple[Tensor, Kept]:
    """Return the softmax over groups of ``layer_norm(x) / temperature``, as :func:`norm_mish`.

    ``ValueError`` also for a ``group`` that does not divide the width.
    """
    _require_normed(x, gain, bias)
    if group < 1 or x.shape[-1] % group:
        raise ValueError(f"no groups of {group} in rows of {x.shape[-1]}")
    x, y, mean, scale = _forward_arrays(x, gain)
    pointers = _pointers(x, gain, bias, y, mean, scale)
    _library().norm_simnorm(*_sizes(x, gain), epsilon, *pointers, group, temperature)
    return y, (x, mean, scale)


def norm_simnorm_back(
    kept: Kept, y: Tensor, gain: Tensor, group: int, temperature: float, given: Tensor
) -> tuple[Tensor, list[Tensor]]:
    """Return the gradients as :func:`norm_mish_back`; ``y`` is the output."""
    x, mean, scale = kept
    sizes = _sizes(x, gain)
    given, gradient, sums = _backward_arrays(x, given, gain, sizes[0])
    pointers = _pointers(x, gain, y, mean, scale, given, gradient, sums)
    _library().norm_simnorm_back(*sizes, *pointers, group, temperature)
    return gradient, _summed(sums)


def _require_normed(x: Tensor, gain: Tensor, bias: Tensor) -> None:
    *blocks, _, width = x.shape
    fits = gain.shape in ((width,), (*blocks, 1, width)) and bias.shape == gain.shape
    fits = fits and x.dtype == gain.dtype == bias.dtype
    if not (fits and gain.is_contiguous() and bias.is_contiguous()):
        told = [f"{t.dtype} {list(t.shape)}" for t in (x, gain, bias)]
        raise ValueError("no norm of x {} with gain {}, bias {}".format(*told))


def _sizes(x: Tensor, gain: Tensor) -> tuple[int, ...]:
    """Return parts, blocks, rows per block, width, and from where to where blocks and rows are."""
    width = x.shape[-1]
    blocks, all_rows = gain.numel() // width, x.numel() // width
    rows = all_rows // blocks
    strides = (rows * width, width) if x.is_contiguous() else x.stride()[:2]
    return min(torch.get_num_threads(), max(all_rows, 1)), blocks, rows, width, *strides


def _pointers(*tensors: Tensor) -> list[int]:
    return [tensor.data_ptr() for tensor in tensors]


def _forward_arrays(x: Tensor, gain: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return ``x`` where it can be read as it lies, else a copy, and room for what is made of it.

    That is one row after the other or, with a gain per block, one block's row after the other's:
    in both ``empty_like`` keeps the strides, by which the way back writes.
    """
    by_block = x.dim() == gain.dim() == 3 and len(x) == len(gain)
    if not (by_block and x.transpose(0, 1).is_contiguous()):
        x = x.contiguous()
    mean, scale = x.new_empty(2, *x.shape[:-1]).unbind()
    return x, x.new_empty(x.shape), mean, scale


def _backward_arrays(
    x: Tensor, given: Tensor, gain: Tensor, parts: int
) -> tuple[Tensor, Tensor, Tensor]:
    return given.contiguous(), torch.empty_like(x), x.new_empty(parts, 2, *gain.shape)


def _summed(sums: Tensor) -> list[Tensor]:
    return list((sums[0] if len(sums) == 1 else sums.sum(0)).unbind())


def _library() -> ctypes.CDLL:
    found = library()
    assert found is not None, "ask usable() first"
    return found


@cache
def library() -> ctypes.CDLL | None:
    """Return the compiled functions, ``None`` where they cannot be had."""
    compiler = next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)
    if compiler is None or os.environ.get("PWM_KERNELS") == "0":
        return None
    flags = _FLAGS + _WIDTHS.get(torch.backends.cpu.get_cpu_capability(), [])
    for parallel in _PARALLEL:
        try:
            return _declared(_loaded([compiler, *flags, *parallel]))
        except (OSError, RuntimeError, subprocess.SubprocessError):
            continue
    return None


def _declared(compiled: ctypes.CDLL) -> ctypes.CDLL:
    for name, arguments in _ARGUMENTS.items():
        function = getattr(compiled, name)
        function.argtypes, function.restype = arguments, None
    return compiled


def _loaded(command: list[str]) -> ctypes.CDLL:
    """Return what :func:`_compiled` gives, made anew where the file in the cache is damaged."""
    path = _compiled(command)
    try:
        return ctypes.CDLL(str(path))
    except OSError:
        path.unlink()
        return ctypes.CDLL(str(_compiled(command)))


def _compiled(command: list[str]) -> Path:
    """Return the shared library that ``command`` makes of the sources, from the cache if there.

    Raise ``OSError``, also for a cache that others may write to, ``SubprocessError`` or, without a
    home, ``RuntimeError``.
    """
    read = b"".join(source.read_bytes() for source in SOURCES)
    name = hashlib.sha256(" ".join(command).encode() + read).hexdigest()[:16]
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    path = Path(home) / "pwm-deploy" / f"kernels-{name}.so"
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder = path.parent.stat()
    if folder.st_uid not in (0, os.getuid()) or folder.st_mode & stat.S_IWOTH:
        raise PermissionError(f"{path.parent} is another's, or anybody may write to it")
    if path.is_file():
        return path
    with tempfile.TemporaryDirectory(dir=path.parent) as directory:
        made = Path(directory) / path.name
        subprocess.run(
            [*command, "-o", str(made), *map(str, SOURCES)],
            check=True,
            capture_output=True,
            timeout=60,
        )
        made.replace(path)  # whole or not at all, however many processes compile it
    return path
