# SPDX-License-Identifier: Apache-2.0
"""Folds the shape arithmetic of a traced ONNX graph into constants, as all shapes are fixed.

The remaining graph makes no decisions at run time, as TensorRT prefers it. Knows ONNX graphs, not models.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

SMALL = 64  # elements: shapes, indices and scalars, never weights


def fold_shapes(model: Any, outputs: Mapping[str, tuple[int, ...]]) -> Any:
    """Turn every small value of a graph that depends only on shapes into an initializer.

    Args:
        model: an ``onnx.ModelProto`` with fixed input shapes; changed in place.
        outputs: shapes of the graph's outputs by name, which are written into it.

    Returns:
        The same model.
    """
    import onnx
    from onnx.reference import ReferenceEvaluator

    graph = model.graph
    for output in graph.output:
        shape = output.type.tensor_type.shape
        del shape.dim[:]
        for length in outputs[output.name]:
            shape.dim.add().dim_value = length
    while True:
        shapes = _known_shapes(onnx, model)
        values = {
            entry.name: onnx.numpy_helper.to_array(entry) for entry in graph.initializer if _small(entry)
        }
        found: dict[str, np.ndarray] = {}
        kept = []
        for node in graph.node:
            value = None
            if node.op_type == "Shape" and node.input[0] in shapes and not node.attribute:
                value = np.array(shapes[node.input[0]], np.int64)
            elif all(name in values for name in node.input if name) and len(node.output) == 1:
                given = {name: values[name] for name in node.input if name}
                value = np.asarray(ReferenceEvaluator(node).run(None, given)[0])
            if value is None or value.size > SMALL:
                kept.append(node)
            else:
                values[node.output[0]] = found[node.output[0]] = value
        if not found:
            break
        del graph.node[:]
        graph.node.extend(kept)
        graph.initializer.extend(onnx.numpy_helper.from_array(value, name) for name, value in found.items())
    used = {name for node in graph.node for name in node.input}
    for unused in [entry for entry in graph.initializer if entry.name not in used]:
        graph.initializer.remove(unused)
    return model


def _small(entry: Any) -> bool:
    return int(np.prod(entry.dims)) <= SMALL


def _known_shapes(onnx: Any, model: Any) -> dict[str, tuple[int, ...]]:
    """Shapes of all tensors without symbolic axes. Large weights are replaced by inputs of their shapes."""
    bare = onnx.ModelProto(ir_version=model.ir_version, opset_import=model.opset_import)
    bare.graph.name = model.graph.name
    bare.graph.node.extend(model.graph.node)
    bare.graph.input.extend(model.graph.input)
    bare.graph.output.extend(model.graph.output)
    for entry in model.graph.initializer:
        if _small(entry):
            bare.graph.initializer.append(entry)
        else:
            bare.graph.input.append(
                onnx.helper.make_tensor_value_info(entry.name, entry.data_type, entry.dims)
            )
    inferred = onnx.shape_inference.infer_shapes(bare).graph
    return {
        entry.name: tuple(axis.dim_value for axis in entry.type.tensor_type.shape.dim)
        for entry in [*inferred.value_info, *inferred.input]
        if entry.type.tensor_type.HasField("shape")
        and all(axis.HasField("dim_value") for axis in entry.type.tensor_type.shape.dim)
    }
