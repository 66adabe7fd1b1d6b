# SPDX-License-Identifier: Apache-2.0
"""Read a policy bundle ``NAME.onnx``: the graph and its contract, without torch.

Everything but the graph lives in the model's ``metadata_props`` under :data:`METADATA_KEY`, as
JSON; ``docs`` and the writer share this module's constants.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from pwm_core.errors import PwmError
from pwm_core.layout import ActionLayout, ObservationLayout
from pwm_export.external_data import refers_to_files
from pwm_export.monitor import RECORD, Monitor, stored_graph

SCHEMA_VERSION = 1
METADATA_KEY = "pwm_bundle"
INPUT, OUTPUT = "observation", "action"
REQUIRED = (
    "schema_version",
    "name",
    "task",
    "control_step",
    "observation",
    "observation_hash",
    "action",
    "action_hash",
)
RANGE = "observation_range"
WARM_UP_RUNS = 3


class BundleError(PwmError, ValueError):
    """A bundle cannot be used; the message names the file and the exact reason."""


@dataclass(frozen=True)
class ObservationRange:
    """What the policy's training data held of each observation entry."""

    low: np.ndarray
    """Lowest values ``[O]``, float32."""
    high: np.ndarray
    """Highest values ``[O]``, float32."""

    @classmethod
    def of(cls, observations: Iterable[np.ndarray]) -> ObservationRange:
        """Return the range of all rows of ``observations``, pieces ``[N, O]``."""
        pieces = [(piece.min(0), piece.max(0)) for piece in observations]
        return cls(
            np.min([low for low, _ in pieces], 0).astype(np.float32),
            np.max([high for _, high in pieces], 0).astype(np.float32),
        )

    def to_json(self) -> dict[str, list[float]]:
        """Return it JSON-ready."""
        return {"low": self.low.tolist(), "high": self.high.tolist()}

    def excess(self, observation: np.ndarray) -> np.ndarray:
        """Return how far each entry ``[O]`` is outside, in widths of its range; 0 inside."""
        outside = np.maximum(self.low - observation, observation - self.high)
        width = np.maximum(self.high - self.low, np.finfo(np.float32).eps)
        return np.maximum(outside, 0.0) / width


@dataclass(frozen=True)
class Bundle:
    """A loaded, checked and warmed-up policy."""

    name: str
    """Name its author gave it."""
    task: str
    """Task it was trained for."""
    control_step: float
    """Seconds between decisions."""
    observation: ObservationLayout
    """Layout of the input, raw units."""
    action: ActionLayout
    """Layout of the output, actuator units."""
    observation_range: ObservationRange | None
    """Range of each entry in the training data; None where the bundle does not say."""
    metadata: dict[str, Any]
    """The whole metadata, as stored."""
    sha256: str
    """Digest of the file."""
    path: Path
    """Where it was read."""
    session: onnxruntime.InferenceSession
    """ONNX Runtime session on one thread."""
    monitor: Monitor | None = None
    """World-model monitor; None where the bundle has none."""

    @classmethod
    def load(cls, path: str | Path, require: Callable[[str, str], None] | None = None) -> Bundle:
        """Read, check and warm up ``path``; :class:`BundleError` says what is wrong with it.

        ``require`` may refuse file name and SHA-256 with such an error: it is called before
        anything parses the very bytes that the digest is of.
        """
        path = Path(path)
        try:
            content = _read(path)
            digest = hashlib.sha256(content).hexdigest()
            if require is not None:
                require(path.name, digest)
            return cls._parsed(path, content, digest)
        except BundleError as error:
            raise BundleError(f"bundle {path.name}: {error}") from error.__cause__

    @classmethod
    def _parsed(cls, path: Path, content: bytes, digest: str) -> Bundle:
        session = _session(content)
        properties = session.get_modelmeta().custom_metadata_map
        metadata = _metadata(properties)
        observation = _layout(ObservationLayout, metadata, "observation")
        action = _layout(ActionLayout, metadata, "action")
        _check_graph(session.get_inputs(), INPUT, observation.size)
        _check_graph(session.get_outputs(), OUTPUT, action.size)
        bundle = cls(
            name=metadata["name"],
            task=metadata["task"],
            control_step=_control_step(metadata),
            observation=observation,
            action=action,
            observation_range=_range(metadata, observation.size),
            metadata=metadata,
            sha256=digest,
            path=path,
            session=session,
            monitor=_monitor(properties, metadata, observation.size, action.size),
        )
        bundle._warm_up()
        return bundle

    def act(self, observation: np.ndarray) -> np.ndarray:
        """Map one observation ``[O]`` in raw units to an action ``[A]`` in actuator units."""
        batch = np.asarray(observation, np.float32).reshape(1, self.observation.size)
        return self.session.run([OUTPUT], {INPUT: batch})[0][0]

    def require(
        self,
        task: str | None = None,
        observation: ObservationLayout | None = None,
        action: ActionLayout | None = None,
        control_step: float | None = None,
    ) -> None:
        """Raise :class:`BundleError` with the exact differences unless the bundle fits."""
        reasons = []
        if task is not None and task != self.task:
            reasons.append(f"made for task {self.task}, expected {task}")
        for kind, mine, wanted in (
            (INPUT, self.observation, observation),
            (OUTPUT, self.action, action),
        ):
            reasons += _layout_difference(kind, mine, wanted)
        if control_step is not None and not np.isclose(control_step, self.control_step, rtol=1e-6):
            reasons.append(f"control step is {self.control_step} s, expected {control_step} s")
        if reasons:
            raise BundleError(f"bundle {self.path.name}: {'; '.join(reasons)}")

    def _warm_up(self) -> None:
        zeros = np.zeros(self.observation.size, np.float32)
        try:
            for _ in range(WARM_UP_RUNS):
                action = self.act(zeros)
        except Exception as error:  # ONNX Runtime raises its own, undocumented classes
            raise BundleError(f"the graph does not run: {error}") from error
        if action.shape != (self.action.size,):
            raise BundleError(f"the graph returns {action.shape}, expected ({self.action.size},)")


def _read(path: Path) -> bytes:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise BundleError(f"cannot be read: {error.strerror} ({path})") from error
    if not content:
        raise BundleError("the file is empty")
    return content


def _session(content: bytes) -> onnxruntime.InferenceSession:
    """Make a session that keeps to one thread and never spins.

    What is read from memory and keeps no weights in other files is what its digest is of. It is a
    file in memory (Linux): ``bytes`` are copied while nobody else may use Python, whereas a file
    is parsed and made ready while a control loop goes on.
    """
    _require_own_weights(content)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    options.add_session_config_entry("session.load_model_format", "ONNX")
    options.log_severity_level = 4
    try:
        with os.fdopen(os.memfd_create("bundle"), "wb") as file:
            file.write(content)
            file.flush()
            return onnxruntime.InferenceSession(
                f"/proc/self/fd/{file.fileno()}", options, providers=["CPUExecutionProvider"]
            )
    except Exception as error:  # ONNX Runtime raises its own, undocumented classes
        raise BundleError(f"not a complete ONNX model (truncated?): {error}") from error


def _require_own_weights(content: bytes) -> None:
    try:
        elsewhere = refers_to_files(content)
    except ValueError as error:
        raise BundleError(f"not a complete ONNX model (truncated?): {error}") from error
    if elsewhere:
        raise BundleError("weights are in another file; a bundle must hold its own")


def _metadata(properties: Mapping[str, str]) -> dict[str, Any]:
    text = properties.get(METADATA_KEY)
    if text is None:
        raise BundleError(f"has no metadata {METADATA_KEY!r}; write it with `pwm export`")
    try:
        metadata = json.loads(text)
    except json.JSONDecodeError as error:
        raise BundleError(f"metadata is not JSON: {error}") from error
    if not isinstance(metadata, dict):
        raise BundleError(f"metadata is a JSON {type(metadata).__name__}, expected an object")
    version = metadata.get("schema_version")
    if version != SCHEMA_VERSION:
        raise BundleError(f"schema version is {version!r}, this reader knows {SCHEMA_VERSION}")
    missing = [key for key in REQUIRED if key not in metadata]
    if missing:
        raise BundleError(f"metadata lacks {', '.join(missing)}")
    for key in ("name", "task"):
        if not isinstance(metadata[key], str):
            raise BundleError(f"{key} is {metadata[key]!r}, expected text")
    return metadata


def _layout(
    kind: type[ObservationLayout] | type[ActionLayout], metadata: dict[str, Any], key: str
) -> Any:
    try:
        layout = kind.from_json(metadata[key])
    except (TypeError, ValueError) as error:
        raise BundleError(f"{key} layout cannot be read: {error}") from error
    stored = metadata[f"{key}_hash"]
    if stored != layout.hash():
        raise BundleError(
            f"{key} layout does not match its own hash ({layout.hash()}, stored {stored}): "
            "the metadata was edited"
        )
    return layout


def _range(metadata: dict[str, Any], size: int) -> ObservationRange | None:
    stored = metadata.get(RANGE)
    if stored is None:
        return None
    try:
        low, high = (np.array(stored[side], np.float32) for side in ("low", "high"))
    except (KeyError, TypeError, ValueError) as error:
        raise BundleError(f"{RANGE} cannot be read: {error!r}") from error
    if low.shape != (size,) or high.shape != (size,) or not (low <= high).all():
        raise BundleError(f"{RANGE} needs low <= high for {size} entries, got {low} and {high}")
    return ObservationRange(low, high)


def _monitor(
    properties: Mapping[str, str],
    metadata: dict[str, Any],
    observations: int,
    commands: int,
) -> Monitor | None:
    record = metadata.get(RECORD)
    if record is None:
        return None
    try:
        graph = stored_graph(properties, record)
        return Monitor.of(_session(graph), record, observations, commands)
    except ValueError as error:  # a BundleError of the session is one too
        raise BundleError(f"world-model monitor: {error}") from error


def _control_step(metadata: dict[str, Any]) -> float:
    step = metadata["control_step"]
    number = isinstance(step, int | float) and not isinstance(step, bool)
    if not number or not 0 < step < float("inf"):
        raise BundleError(f"control step is {step!r}, expected seconds > 0")
    return float(step)


def _check_graph(values: list[Any], name: str, size: int) -> None:
    names = [value.name for value in values]
    if names != [name]:
        raise BundleError(f"graph has {names} where [{name!r}] is expected")
    shape = values[0].shape
    if values[0].type != "tensor(float)" or len(shape) != 2:
        raise BundleError(f"{name} is {values[0].type} {shape}, expected float32 [batch, {size}]")
    if isinstance(shape[1], int) and shape[1] != size:
        raise BundleError(f"graph's {name} has {shape[1]} entries, its layout has {size}")


def _layout_difference(kind: str, mine: Any, wanted: Any) -> list[str]:
    if wanted is None:
        return []
    differences = wanted.difference(mine)
    if differences and mine.size != wanted.size:
        differences.insert(0, f"it has {mine.size} entries, expected {wanted.size}")
    return [f"{kind} layout: {difference}" for difference in differences]
