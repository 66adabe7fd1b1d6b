# SPDX-License-Identifier: Apache-2.0
"""Batches of which half are online and half offline windows."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from pwm_core.data.sampler import Windows, WindowSampler
from pwm_core.pretraining.preparation import pad


class MixedSampler:
    """Several samplers as one: every batch holds the windows of each."""

    def __init__(self, samplers: Sequence[WindowSampler], widths: tuple[int, int]) -> None:
        """``widths`` are the entries of observation and action in the batches."""
        self._samplers, self._widths = samplers, widths

    def batch(self, number: int, share: slice = slice(None)) -> Windows:
        """Return batch ``number``, or a ``share`` of its windows.

        The same number gives the same windows.
        """
        drawn = [pad(sampler.batch(number), *self._widths) for sampler in self._samplers]
        columns = zip(*(vars(windows).values() for windows in drawn), strict=True)
        whole = (torch.cat(column, min(1, column[0].ndim - 1)) for column in columns)
        return Windows(
            *(column[..., share] if column.ndim == 1 else column[:, share] for column in whole)
        )
