# SPDX-License-Identifier: Apache-2.0
"""Find weights that an ONNX model keeps in other files, which its digest does not cover.

ONNX Runtime's releases differ in which of them they read, so the model's own bytes are asked, as
`onnx.proto <https://github.com/onnx/onnx/blob/main/onnx/onnx.proto>`_ lays them out. Tensors are
skipped, not decoded: a model of megabytes takes a millisecond.
"""

from __future__ import annotations

from collections.abc import Iterator

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
"""Wire types of protobuf's encoding."""
WIDTH = {FIXED64: 8, FIXED32: 4}
EXTERNAL_DATA, DATA_LOCATION = 13, 14
"""Fields of a tensor: where its values are in other files, and whether they are (not 0)."""
MESSAGES: dict[str, dict[int, str]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: "tensor", 15: "sparse tensor"},
    "node": {5: "attribute"},
    "attribute": {
        5: "tensor",
        6: "graph",
        10: "tensor",
        11: "graph",
        22: "sparse tensor",
        23: "sparse tensor",
    },
    "sparse tensor": {1: "tensor", 2: "tensor"},
    "tensor": {},
}
"""Kind of message to its fields that lead to tensors, and the kind of message these are."""


def refers_to_files(model: bytes) -> bool:
    """Tell whether any tensor of a model is in another file, wherever in the graph it is.

    Raises ``ValueError`` for what is not a protobuf message.
    """
    messages = [("model", memoryview(model))]
    while messages:
        kind, content = messages.pop()
        for number, value in _fields(content):
            if kind == "tensor" and number in (EXTERNAL_DATA, DATA_LOCATION) and value != 0:
                return True
            if number in MESSAGES[kind] and isinstance(value, memoryview):
                messages.append((MESSAGES[kind][number], value))
    return False


def _fields(content: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Yield number and value of each field of a message; of a fixed-width one its bytes."""
    position = 0
    while position < len(content):
        tag, position = _varint(content, position)
        number, wire_type = tag >> 3, tag & 7
        if wire_type == VARINT:
            value, position = _varint(content, position)
            yield number, value
            continue
        if wire_type == BYTES:
            length, position = _varint(content, position)
        elif wire_type in WIDTH:
            length = WIDTH[wire_type]
        else:
            raise ValueError(f"field {number} has wire type {wire_type}")
        if position + length > len(content):
            raise ValueError(f"field {number} is cut off")
        yield number, content[position : position + length]
        position += length


def _varint(content: memoryview, position: int) -> tuple[int, int]:
    """Return the number at a position and the position after it."""
    value = 0
    for place, byte in enumerate(content[position : position + 10]):
        value |= (byte & 0x7F) << 7 * place
        if byte < 0x80:
            return value, position + place + 1
    raise ValueError("a number is cut off")
