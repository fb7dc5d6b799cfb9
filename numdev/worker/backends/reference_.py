"""The reference: an ONNX model evaluated operator by operator, floats in float64, integers exactly.

onnx's own ReferenceEvaluator does the arithmetic; here the graph is only rewritten from float32 to float64.
"""

from __future__ import annotations

from typing import Any, Callable, Dict, List

import numpy as np

from ..tensors import Refused
from . import Task


def preload() -> None:
    import onnx.reference  # noqa: F401


def prepare(task: Task) -> Callable[[], Dict[str, np.ndarray]]:
    import onnx
    from onnx.reference import ReferenceEvaluator

    model = onnx.load(str(task.model), load_external_data=False)
    _widen(model.graph)
    names = [item.name for item in model.graph.output]
    constant = {item.name for item in model.graph.initializer}
    wanted = {item.name for item in model.graph.input} - constant
    if wanted != set(task.inputs):
        raise Refused(f"the model's inputs are {sorted(wanted)}, the workload gives {sorted(task.inputs)}")
    inputs = {
        name: array.astype(np.float64) if array.dtype == np.float32 else array for name, array in task.inputs.items()
    }
    evaluator = ReferenceEvaluator(model, new_ops=_operators())
    return lambda: dict(zip(names, evaluator.run(names, inputs)))


def _operators() -> List[Any]:
    """Operators that onnx's evaluator lacks, or does otherwise than inference needs, for the opsets of real models.

    Before opset 14 its batch normalisation mixes the batch's own mean and variance in, as if it were training; before
    opset 19 it has no (de)quantisation.
    """
    from onnx.reference.op_run import OpRun

    class BatchNormalization(OpRun):
        def _run(self, x: Any, scale: Any, bias: Any, mean: Any, variance: Any, epsilon: Any = None, **_: Any) -> Any:
            shape = (1, -1, *(1 for _ in x.shape[2:]))
            factor = scale / np.sqrt(variance + (1e-5 if epsilon is None else epsilon))
            return ((x - mean.reshape(shape)) * factor.reshape(shape) + bias.reshape(shape),)

    class QuantizeLinear(OpRun):
        def _run(self, x: Any, scale: Any, zero: Any = None, axis: Any = None, **_: Any) -> Any:
            zero = np.zeros((), np.uint8) if zero is None else zero
            limits = np.iinfo(zero.dtype)
            whole = np.rint(x / _along(scale, x, axis)) + _along(zero, x, axis)
            return (np.clip(whole, limits.min, limits.max).astype(zero.dtype),)

    class DequantizeLinear(OpRun):
        def _run(self, x: Any, scale: Any, zero: Any = None, axis: Any = None, **_: Any) -> Any:
            shifted = x.astype(np.float64) - (0 if zero is None else _along(zero, x, axis).astype(np.float64))
            return (shifted * _along(scale, x, axis),)

    return [BatchNormalization, QuantizeLinear, DequantizeLinear]


def _along(values: Any, x: Any, axis: Any) -> Any:
    """A scale or zero point for the whole tensor, or one for each slice along an axis."""
    if values.size == 1:
        return values.reshape(())
    shape = [1] * x.ndim
    shape[1 if axis is None else axis] = values.size
    return values.reshape(shape)


def _widen(graph: Any) -> None:
    """float32 becomes float64 in a graph and its subgraphs: weights, constants, casts and declared types."""
    import onnx
    from onnx import TensorProto, numpy_helper

    def widened(tensor: Any) -> Any:
        array = numpy_helper.to_array(tensor).astype(np.float64)
        return numpy_helper.from_array(array, tensor.name)

    for tensor in graph.initializer:
        if tensor.data_type == TensorProto.FLOAT:
            tensor.CopyFrom(widened(tensor))
    for value in [*graph.input, *graph.output, *graph.value_info]:
        if value.type.tensor_type.elem_type == TensorProto.FLOAT:
            value.type.tensor_type.elem_type = TensorProto.DOUBLE
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.TENSOR and attribute.t.data_type == TensorProto.FLOAT:
                attribute.t.CopyFrom(widened(attribute.t))
            elif attribute.type == onnx.AttributeProto.GRAPH:
                _widen(attribute.g)
            elif node.op_type == "Cast" and attribute.name == "to" and attribute.i == TensorProto.FLOAT:
                attribute.i = TensorProto.DOUBLE
