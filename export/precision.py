# SPDX-License-Identifier: Apache-2.0
"""Smaller weights inside a policy's graph; it takes and gives float32 as before.

``float16`` keeps weights in half precision and multiplies in float32: ONNX Runtime turns them back
when a bundle is loaded, so that a decision takes as long as with float32. ``int8`` multiplies in
integers, by ONNX Runtime's dynamic quantisation: weights in 8 bits per output, activations in 8
bits per decision. The first layer and the last stay in float32: one entry of an observation far
outside of the usual would else coarsen all others.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import onnx
import torch
from onnx import numpy_helper

from pwm_core.errors import PwmError

Precision = Literal["float32", "float16", "int8"]
"""What a user may ask for."""


@dataclass(frozen=True)
class ActionError:
    """How far a graph's actions are from torch's, on real observations."""

    largest: float
    """Largest absolute difference, in actuator units."""
    largest_share: float
    """Largest difference as a share of its actuator's range."""
    mean_share: float
    """Mean of those shares over the observations, of the actuator where it is largest."""

    @classmethod
    def of(cls, found: np.ndarray, expected: np.ndarray, span: np.ndarray) -> ActionError:
        """Compare actions ``[N, A]``; ``span [A]`` is the width of each actuator's range."""
        difference = np.abs(found - expected)
        share = difference / span
        return cls(float(difference.max()), float(share.max()), float(share.mean(0).max()))


@dataclass(frozen=True)
class Inside:
    """How a graph computes, and how exact it must be to be written."""

    name: str
    """As the bundle's metadata have it."""
    dtype: torch.dtype = torch.float32
    """Precision of the network before ``lighten``."""
    lighten: Callable[[onnx.ModelProto], onnx.ModelProto] = lambda model: model
    """Returns the graph with smaller weights; the one it is given may change."""
    figure: Literal["largest", "mean_share"] = "largest"
    """The figure of :class:`ActionError` that decides."""
    limit: float = 1e-5
    """The largest it may be."""

    def accepts(self, error: ActionError) -> bool:
        """Tell whether the graph is exact enough; NaN never is."""
        return getattr(error, self.figure) <= self.limit

    def told(self, error: ActionError) -> str:
        """Return what was found and what is allowed, in words."""
        found = getattr(error, self.figure)
        if self.figure == "largest":
            return f"{found:.1e} in {self.name}, more than {self.limit:.0e}"
        share = f"{found:.2%} of an actuator's range on average"
        return f"{share} in {self.name}, more than {self.limit:.1%}"


def in_halves(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return ``model`` with matrices in float16, which are cast to float32 when it is loaded."""
    graph = model.graph
    for tensor in [t for t in graph.initializer if _matrix(t)]:
        with np.errstate(over="ignore"):
            half = numpy_helper.to_array(tensor).astype(np.float16)
        if not np.isfinite(half).all():
            raise PwmError(
                f"{tensor.name} holds numbers beyond float16's largest, 65504: export in float32"
            )
        name = f"{tensor.name}.float16"
        cast = onnx.helper.make_node("Cast", [name], [tensor.name], to=onnx.TensorProto.FLOAT)
        graph.initializer.remove(tensor)
        graph.initializer.append(numpy_helper.from_array(half, name))
        graph.node.insert(0, cast)
    return model


def in_bytes(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return ``model`` quantised dynamically, all but its first and last layers.

    Weights are unsigned: with signed ones, processors without VNNI saturate and act otherwise.
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic

    del model.graph.value_info[:]  # of weights that the quantiser transposes
    layers = [f"{node.name}_MatMul" for node in model.graph.node if node.op_type == "Gemm"]
    logger, level = logging.getLogger(), logging.getLogger().level
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "quantised.onnx"
        logger.setLevel(logging.ERROR)  # it notes every tensor, and advises to preprocess
        try:
            quantize_dynamic(
                model,
                path,
                per_channel=True,
                weight_type=QuantType.QUInt8,
                nodes_to_exclude=[layers[0], layers[-1]],
            )
        finally:
            logger.setLevel(level)
        return onnx.load(path)


def _matrix(tensor: onnx.TensorProto) -> bool:
    return tensor.data_type == onnx.TensorProto.FLOAT and len(tensor.dims) == 2


PRECISIONS: dict[Precision, tuple[Inside, ...]] = {
    "float32": (Inside("float32"), Inside("float64", torch.float64)),
    "float16": (Inside("float16", lighten=in_halves, figure="mean_share", limit=1e-3),),
    "int8": (Inside("int8", lighten=in_bytes, figure="mean_share", limit=1e-2),),
}
"""What is tried for each, in order; the first that is exact enough is written."""
