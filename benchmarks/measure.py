# SPDX-License-Identifier: Apache-2.0
"""Clocks, interleaved blocks, counted work and the machine's own rate of matrix products."""

from __future__ import annotations

import cProfile
import pstats
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from pwm_core.model import kernels
from pwm_core.model.products import library_product

Row = dict[str, Any]

GEMM = "GEMM"
GEMM_SIZE = 768
GEMM_CALLS = 8


def clock() -> Callable[[], float]:
    """Return CPU seconds on one thread, wall seconds on several.

    CPU seconds leave out the time a neighbour had the core; on several threads they would count
    threads that only wait for each other.
    """
    return time.process_time if torch.get_num_threads() == 1 else time.perf_counter


def clock_name() -> str:
    """Return the name of what :func:`clock` counts."""
    return "CPU" if torch.get_num_threads() == 1 else "wall"


def _linear_flop(x: Sequence[int], weight: Sequence[int], *_: object, **__: object) -> int:
    """Return the FLOP of ``x [n, in]`` times ``weight [out, in]``."""
    return 2 * x[0] * x[1] * weight[0]


ONEDNN = {torch.ops.mkldnn._linear_pointwise: _linear_flop}
"""Work of the products that PyTorch's counter does not know."""


@dataclass(frozen=True)
class Program:
    """Something to time: ``run`` once is one call, a block is ``calls`` of them."""

    run: Callable[[], object]
    calls: int


def without_kernels(run: Callable[[], object]) -> Callable[[], None]:
    """Return ``run`` as it is where there is no C compiler."""

    def ran() -> None:
        with mock.patch.object(kernels, "library", return_value=None):
            run()

    return ran


def gemm() -> Program:
    """Return a square float32 matrix product, the measure of what the machine can do.

    By the faster of PyTorch's libraries; on AMD's processors that is not the one of ``torch.mm``.
    """
    a, b = torch.randn(2, GEMM_SIZE, GEMM_SIZE).unbind()
    return Program(lambda: library_product(a, b), GEMM_CALLS)


def gemm_rate(seconds: np.ndarray) -> np.ndarray:
    """Return FLOP/s for the seconds per call of :func:`gemm`."""
    return 2.0 * GEMM_SIZE**3 / seconds


def interleave(programs: Mapping[str, Program], rounds: int) -> dict[str, np.ndarray]:
    """Return seconds per call ``[rounds]`` of each program; blocks alternate A B C A B C …

    One call of each goes before, unmeasured.
    """
    now = clock()
    seconds = {name: np.zeros(rounds) for name in programs}
    for program in programs.values():
        program.run()
    for number in range(rounds):
        for name, program in programs.items():
            begin = now()
            for _ in range(program.calls):
                program.run()
            seconds[name][number] = (now() - begin) / program.calls
    return seconds


def counted_work(run: Callable[[], object]) -> float:
    """Return the FLOP of the matrix products that one call executes, forward and backward.

    By libraries: PyTorch's counter does not see those of ``pwm_core``'s kernels.
    """
    with FlopCounterMode(display=False, custom_mapping=ONEDNN) as counter:
        without_kernels(run)()
    return float(counter.get_total_flops())


def compare(
    case: str,
    programs: Mapping[str, Program],
    reference: str,
    executed: Mapping[str, float],
    needed: float,
    rounds: int,
) -> list[Row]:
    """Time ``programs`` and a GEMM block by block and return a row for each.

    ``executed`` is the FLOP per call of each program. The share of the GEMM rate counts ``needed``,
    the FLOP per call without superfluous work, for all of them.
    """
    seconds = interleave({**programs, GEMM: gemm()}, rounds)
    rate = gemm_rate(seconds[GEMM])
    rows = []
    for name in programs:
        own = seconds[name]
        rows.append(
            {
                "case": case,
                "program": name,
                f"{clock_name()} ms": 1e3 * float(np.median(own)),
                "times reference": float(np.median(seconds[reference] / own)),
                "executed GFLOP": executed[name] / 1e9,
                "GFLOP/s": float(np.median(executed[name] / own)) / 1e9,
                "GEMM GFLOP/s": float(np.median(rate)) / 1e9,
                "share of GEMM": float(np.median(needed / own / rate)),
            }
        )
    return rows


def function_rows(run: Callable[[], object], calls: int, top: int = 12) -> list[Row]:
    """Return the Python functions with most time of their own over ``calls`` calls."""
    run()
    with cProfile.Profile() as record:
        for _ in range(calls):
            run()
    table = pstats.Stats(record).get_stats_profile()
    functions = sorted(table.func_profiles.items(), key=lambda item: -item[1].tottime)
    return [
        {
            "function": name,
            "share": function.tottime / table.total_tt,
            "ms per call": 1e3 * function.tottime / calls,
        }
        for name, function in functions[:top]
    ]


def profile_rows(run: Callable[[], object], calls: int, top: int = 12) -> list[Row]:
    """Return the operators with most CPU time of their own over ``calls`` calls."""
    run()
    with profile(activities=[ProfilerActivity.CPU]) as record:
        for _ in range(calls):
            run()
    operators = sorted(record.key_averages(), key=lambda o: o.self_cpu_time_total, reverse=True)
    total = sum(operator.self_cpu_time_total for operator in operators)
    return [
        {
            "operator": operator.key,
            "share": operator.self_cpu_time_total / total,
            "ms per call": operator.self_cpu_time_total / calls / 1e3,
            "times per call": operator.count / calls,
        }
        for operator in operators[:top]
    ]
