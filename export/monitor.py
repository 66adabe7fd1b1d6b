# SPDX-License-Identifier: Apache-2.0
"""The world-model monitor of a bundle: does the robot still move as its world model predicts?

A second graph maps an observation and the command sent to two points of whitened latent space:
``seen``, where the robot is, and ``expected``, where it will be a decision later. How far apart
they lie when that decision has passed is the one-step latent prediction error. The graph lives in
the metadata of the bundle's ONNX file, so that the policy's own graph stays as it is.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnxruntime

RECORD = "monitor"
"""Key of the calibration in the bundle's metadata."""
GRAPH_KEY = "pwm_monitor"
"""Key of the graph, an ONNX model in base64, in the model's ``metadata_props``."""
INPUTS, OUTPUTS = ("observation", "command"), ("seen", "expected")
WARM_UP_RUNS = 3
PIECE = 1 << 16
"""Characters of base64 that are decoded at once: a robot's control loop has its turn between."""
LEAST_ODD = 4
"""Odd errors that an alarm takes at the least: a simulator's reset and a late command beside it are
two."""
TINY = 1e-12


def stored_graph(properties: Mapping[str, str], record: Any) -> bytes:
    """Return the graph that ``record`` describes; ``ValueError`` when it is not the one stored."""
    if not isinstance(record, dict):
        raise ValueError(f"its calibration is {record!r}, expected an object")
    if GRAPH_KEY not in properties:
        raise ValueError(f"it is calibrated, but its graph {GRAPH_KEY!r} is missing")
    try:
        graph = _decoded(properties[GRAPH_KEY])
    except binascii.Error as error:
        raise ValueError(f"its graph is damaged: {error}") from error
    digest = hashlib.sha256(graph).hexdigest()
    if digest != record.get("sha256"):
        raise ValueError(
            f"its graph is damaged: SHA-256 is {digest[:12]}…, "
            f"the calibration says {str(record.get('sha256'))[:12]}…"
        )
    return graph


def _decoded(text: str) -> bytes:
    pieces = (text[start : start + PIECE] for start in range(0, len(text), PIECE))
    return b"".join(base64.b64decode(piece, validate=True) for piece in pieces)


@dataclass(frozen=True)
class Monitor:
    """The graph and what is normal for the policy it came with."""

    window: int
    """Decisions over which errors are judged together."""
    threshold: float
    """Windowed error that a nominal run reaches once in ``record["false_alarm_minutes"]``."""
    record: dict[str, Any]
    """The whole calibration, as stored."""
    session: onnxruntime.InferenceSession
    """ONNX Runtime session on one thread."""

    @property
    def calibration(self) -> str:
        """What the monitor was calibrated on, in words."""
        told = self.record["calibration"]
        return f"{told['minutes']:.1f} min of {told['source']} episodes"

    @classmethod
    def of(
        cls,
        session: onnxruntime.InferenceSession,
        record: dict[str, Any],
        observations: int,
        commands: int,
    ) -> Monitor:
        """Return the warmed-up monitor; ``ValueError`` says why it does not fit the policy."""
        _check_sizes(session, observations, commands)
        window, threshold = record.get("window"), record.get("threshold")
        if not isinstance(window, int) or window < 1:
            raise ValueError(f"its window is {window!r}, expected a number of decisions")
        if not isinstance(threshold, float) or not 0 < threshold < math.inf:
            raise ValueError(f"its threshold is {threshold!r}, expected a number above 0")
        monitor = cls(window, threshold, record, session)
        try:
            for _ in range(WARM_UP_RUNS):
                monitor.look(np.zeros((2, observations)), np.zeros((2, commands)))
        except Exception as error:  # ONNX Runtime raises its own, undocumented classes
            raise ValueError(f"its graph does not run: {error}") from error
        return monitor

    def look(self, observation: np.ndarray, command: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return ``seen`` and ``expected [N, K]`` for ``[N, O]`` and ``[N, A]`` in raw units."""
        given = (observation, command)
        feed = {n: np.asarray(value, np.float32) for n, value in zip(INPUTS, given, strict=True)}
        return self.session.run(OUTPUTS, feed)


def unexplained(seen: np.ndarray, at_once: np.ndarray, late: np.ndarray) -> np.ndarray:
    """Return the part ``[…, K]`` of prediction errors that no late command explains.

    A robot is expected ``at_once [..., K]`` if the command acts at once, and ``late`` if the one
    before acts all along; between the two if it comes within the control step. When it came is not
    known: the error counts from the nearest of these points.
    """
    error, path = seen - at_once, late - at_once
    length = np.maximum(np.einsum("...k,...k", path, path), TINY)
    share = np.clip(np.einsum("...k,...k", error, path) / length, 0, 1)
    return error - share[..., None] * path


class Detector:
    """Novelty of a running robot: its windowed prediction error over the calibrated threshold.

    Judged is the length of the window's mean error vector: what the model gets wrong in the same
    direction again and again, while noise averages out (a windowed form of the multivariate control
    charts of statistical process control). What a late command explains is not counted
    (:func:`unexplained`), nor more of an error than a ``LEAST_ODD``-th of what alarms, so that one
    lost message or one reset does not. Errors not known count as none.
    """

    def __init__(self, monitor: Monitor) -> None:
        self._monitor = monitor
        self._limit = monitor.threshold * monitor.window / LEAST_ODD
        self._errors: deque[np.ndarray] = deque(maxlen=monitor.window)
        self._expected: np.ndarray | None = None
        self._sent: np.ndarray | None = None

    def restart(self) -> None:
        """Forget everything, as when another policy takes over."""
        self._errors.clear()
        self._expected = self._sent = None

    def interrupt(self) -> None:
        """The next observation does not follow from the last one by one decision."""
        self._expected = None

    def observe(self, observation: np.ndarray, command: np.ndarray) -> float:
        """Return the novelty after ``observation [O]``, which ``command [A]`` answers.

        Above 1 the robot does not move as it did in the calibration.
        """
        before = command if self._sent is None else self._sent
        seen, expected = self._monitor.look(
            np.stack([observation, observation]), np.stack([command, before])
        )
        if self._expected is not None:
            with np.errstate(invalid="ignore"):  # what overflowed in the graph counts as odd
                at_once, late = self._expected
                error = unexplained(seen[0], at_once, late)
            error = np.nan_to_num(error, nan=self._limit)
            self._errors.append(error * min(1.0, self._limit / max(_length(error), TINY)))
        self._expected, self._sent = expected, command
        if not self._errors:
            return 0.0
        total = np.add.reduce(self._errors)
        return _length(total) / self._monitor.window / self._monitor.threshold


def _length(vector: np.ndarray) -> float:
    return math.sqrt(float(vector @ vector))


def _check_sizes(session: onnxruntime.InferenceSession, observations: int, commands: int) -> None:
    found = {value.name: value.shape[-1] for value in session.get_inputs()}
    wanted = dict(zip(INPUTS, (observations, commands), strict=True))
    if found != wanted:
        raise ValueError(f"its graph takes {found}, the policy has {wanted}")
    names = tuple(value.name for value in session.get_outputs())
    if names != OUTPUTS:
        raise ValueError(f"its graph returns {names}, expected {OUTPUTS}")
