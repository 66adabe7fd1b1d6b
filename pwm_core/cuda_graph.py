# SPDX-License-Identifier: Apache-2.0
"""Work that is the same every time, recorded once and started as one CUDA graph from then on.

An iteration of training is thousands of small kernels; launched one by one from Python they take
longer to start than to run. See https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

WARM_UP = 3
"""Calls before the recording, in which libraries choose kernels and optimisers their state."""

R = TypeVar("R")


class Recorded(Generic[R]):
    """A function of tensors on a CUDA device as a graph; on a CPU it is called as it is.

    Whatever it changes (weights, moments) it must change in place. It may not wait for the device,
    send anything to it, or do other work for other values. What it returns is overwritten by the
    next call. Inputs of other shapes are recorded anew.
    """

    def __init__(self, function: Callable[..., R]) -> None:
        self._function = function
        self._shapes: list[torch.Size] = []
        self._calls = 0
        self._graph: torch.cuda.CUDAGraph | None = None
        self._inputs: list[Tensor] = []
        self._outputs: R

    def __call__(self, *inputs: Tensor) -> R:
        if inputs[0].device.type != "cuda":
            return self._function(*inputs)
        shapes = [each.shape for each in inputs]
        if shapes != self._shapes:
            self._shapes, self._calls, self._graph = shapes, 0, None
        if self._calls < WARM_UP:
            self._calls += 1
            return self._aside(*inputs)
        if self._graph is None:
            self._record(inputs)
        for mine, given in zip(self._inputs, inputs, strict=True):
            mine.copy_(given)
        assert self._graph is not None
        self._graph.replay()
        return self._outputs

    def _aside(self, *inputs: Tensor) -> R:
        """Call the function on another stream, as PyTorch asks for before a recording."""
        present, aside = torch.cuda.current_stream(), torch.cuda.Stream()
        aside.wait_stream(present)
        with torch.cuda.stream(aside):
            outputs = self._function(*inputs)
        present.wait_stream(aside)
        return outputs

    def _record(self, inputs: tuple[Tensor, ...]) -> None:
        """Record a call, which nothing comes of until it is replayed."""
        self._inputs = [each.clone() for each in inputs]
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph):
            self._outputs = self._function(*self._inputs)


def keep_rates_on(device: torch.device, optimizer: torch.optim.Optimizer) -> None:
    """Keep the learning rates of a fused Adam on ``device``, where a graph reads them anew."""
    for group in optimizer.param_groups:
        group["lr"] = torch.tensor(float(group["lr"]), device=device)
        group["capturable"] = True


def set_rate(group: dict[str, Any], rate: float) -> None:
    """Set the learning rate of an optimiser's parameters, in place where it is a tensor."""
    if isinstance(group["lr"], Tensor):
        group["lr"].fill_(rate)
    else:
        group["lr"] = rate
