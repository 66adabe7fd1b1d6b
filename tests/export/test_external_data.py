# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from pwm_export.external_data import refers_to_files


def tensor(external: bool, name: str = "weights") -> TensorProto:
    """Ten thousand weights: their bytes are skipped."""
    made = numpy_helper.from_array(np.full(10_000, 7.0, np.float32), name)
    if external:
        made.ClearField("raw_data")
        made.data_location = TensorProto.EXTERNAL
        made.external_data.add(key="location", value="/elsewhere")
    return made


def model(nodes: Any = (), functions: Any = (), **fields: Any) -> ModelProto:
    """A model with an output nobody makes: it is read, not run."""
    output = helper.make_tensor_value_info("out", TensorProto.FLOAT, None)
    made = helper.make_model(
        helper.make_graph(list(nodes), "graph", [], [output], **fields), functions=list(functions)
    )
    helper.set_model_props(made, {"key": "value" * 1000})
    return made


def constant(external: bool) -> Any:
    return helper.make_node("Constant", [], ["out"], value=tensor(external))


def in_initializer(external: bool) -> ModelProto:
    return model(initializer=[tensor(False, "first"), tensor(external)])


def in_sparse_initializer(external: bool) -> ModelProto:
    sparse = onnx.SparseTensorProto(values=tensor(external), dims=[20_000])
    return model(sparse_initializer=[sparse])


def in_attribute(external: bool) -> ModelProto:
    return model([constant(external)])


def in_list_attribute(external: bool) -> ModelProto:
    return model([helper.make_node("Made", [], ["out"], domain="own", all=[tensor(external)])])


def in_subgraph_of_subgraph(external: bool) -> ModelProto:
    inner = model([constant(external)]).graph
    outer = model([helper.make_node("If", ["a"], ["b"], then_branch=inner, else_branch=inner)])
    return model([helper.make_node("Loop", ["a"], ["b"], body=outer.graph)])


def in_function(external: bool) -> ModelProto:
    opset = [helper.make_opsetid("", 17)]
    function = helper.make_function("own", "Made", [], ["out"], [constant(external)], opset)
    return model([helper.make_node("Made", [], ["out"], domain="own")], [function])


def in_training(external: bool) -> ModelProto:
    made = model()
    made.training_info.add(algorithm=in_initializer(external).graph)
    return made


PLACES = (
    in_initializer,
    in_sparse_initializer,
    in_attribute,
    in_list_attribute,
    in_subgraph_of_subgraph,
    in_function,
    in_training,
)


@pytest.mark.parametrize("place", PLACES, ids=lambda place: place.__name__)
def test_weights_elsewhere_are_found_wherever_they_are_named(
    place: Callable[[bool], ModelProto],
) -> None:
    assert not refers_to_files(place(False).SerializeToString())
    assert refers_to_files(place(True).SerializeToString())


def test_a_location_alone_is_enough() -> None:
    made = in_initializer(True)
    made.graph.initializer[1].ClearField("data_location")
    assert refers_to_files(made.SerializeToString())


@pytest.mark.parametrize(
    "content",
    [b"\x3a", b"\x3a\x05ab", b"\x80" * 11, b"\x3b\x3c", b"\x3d\x00\x00", b"\x3a\x02\x2a\x07"],
)
def test_what_is_no_model_is_an_error(content: bytes) -> None:
    with pytest.raises(ValueError, match=r"cut off|wire type"):
        refers_to_files(content)
