"""TensorFlow on the CPU: networks in the `net` format as one graph, laid out as its kernels want them.

Values are NHWC inside, which is all that TensorFlow's convolutions on processors take, and NCHW outside. Weights
are variables, as in Keras: of constants, Grappler would compute a part beforehand.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Callable, Dict, List, Tuple, Union

import numpy as np

from .. import net
from ..layers import Tapping
from ..tensors import Refused, cast
from . import Task, Unsupported, nhwc

_ELEMENTWISE = {
    "relu": "nn.relu",
    "exp": "math.exp",
    "tanh": "math.tanh",
    "sigmoid": "math.sigmoid",
    "sqrt": "math.sqrt",
    "rsqrt": "math.rsqrt",
    "reciprocal": "math.reciprocal",
}


def preload() -> None:
    import tensorflow  # noqa: F401


def prepare(task: Task) -> Callable[[], Dict[str, np.ndarray]]:
    return nhwc.prepare(task, _function)


def tapping(task: Task) -> Tapping:
    return nhwc.tapping(task, _function)


def _function(task: Task, network: nhwc.Network, added: Sequence[str]) -> Callable[[], nhwc.Made]:
    """A graph that infers once: the network's outputs, and the layers that are asked for besides."""
    import tensorflow as tf

    if task.precision not in ("float32", "float64"):
        raise Unsupported(f"TensorFlow does not compute in {task.precision} here")
    tf.config.threading.set_intra_op_parallelism_threads(task.threads)
    # One operator after the other, in the same order each time: the threads share the work inside each.
    tf.config.threading.set_inter_op_parallelism_threads(1)
    if task.optimization == "off":
        tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
    description, arrays = network
    # A build for GPUs would take one.
    with tf.device("/CPU:0"):
        weights = [
            {
                key: tf.Variable(cast(array, task.precision), trainable=False)
                for key, array in nhwc.weights_of(layer, arrays).items()
            }
            for layer in description["layers"]
        ]
        inputs = {name: tf.constant(cast(array, task.precision)) for name, array in task.inputs.items()}
        graph = tf.function(lambda values: _graph(description, weights, values, added))

    def infer() -> nhwc.Made:
        with tf.device("/CPU:0"):
            outputs, more = graph(inputs)
        seen = {name: nhwc.outside(more[name].numpy()) for name in added}
        return {name: outputs[name].numpy() for name in description["outputs"]}, seen

    return infer


def _graph(
    description: Dict[str, Any], weights: List[Dict[str, Any]], inputs: Dict[str, Any], added: Sequence[str]
) -> Tuple[Dict[str, Any], Dict[str, Any]]:
    """The network's outputs, of tensors as the `net` format has them, and the `added` layers as they are inside."""
    import tensorflow as tf

    values = {name: _moved(tensor, (0, 2, 3, 1)) for name, tensor in inputs.items()}
    for layer, w in zip(description["layers"], weights):
        x, *others = (values[name] for name in net.names(layer))
        operation = layer["op"]
        strides = list(layer.get("stride", (1, 1)))
        if operation == "conv":
            y = tf.nn.conv2d(x, w["weight"], strides, _padding(layer, x.shape, w["weight"].shape))
            y = tf.nn.bias_add(y, w["bias"]) if "bias" in w else y
        elif operation == "maxpool":
            padding = _padding(layer, x.shape, layer["kernel"])
            if not isinstance(padding, str):
                # Padding must never win; tf.nn.max_pool2d with explicit padding is missing in older versions.
                x, padding = tf.pad(x, padding, constant_values=x.dtype.as_numpy_dtype(-np.inf)), "VALID"
            y = tf.nn.max_pool2d(x, list(layer["kernel"]), strides, padding)
        elif operation == "pad":
            top, left, bottom, right = layer["padding"]
            y = tf.pad(x, [[0, 0], [top, bottom], [left, right], [0, 0]])
        elif operation == "dense":
            y = tf.linalg.matmul(x, w["weight"])
            y = tf.nn.bias_add(y, w["bias"]) if "bias" in w else y
        elif operation == "batchnorm":
            y = _batchnorm(x, w, layer["epsilon"])
        elif operation == "softmax":
            # The last axis outside is the last but one inside.
            y = tf.nn.softmax(x, axis=2 if x.shape.rank == 4 else -1)
        elif operation == "flatten":
            y = tf.reshape(_moved(x, (0, 3, 1, 2)), [x.shape[0], -1])
        elif operation == "add":
            y = x + others[0]
        elif operation == "global_average_pool":
            y = tf.reduce_mean(x, axis=[1, 2])
        elif operation in _ELEMENTWISE:
            module, _, name = _ELEMENTWISE[operation].partition(".")
            y = getattr(getattr(tf, module), name)(x)
        else:
            raise Refused(f"unknown operation {operation!r}")
        values[layer["output"]] = y
    outputs = {name: _moved(values[name], (0, 3, 1, 2)) for name in description["outputs"]}
    return outputs, {name: values[name] for name in added}


def _moved(tensor: Any, order: Tuple[int, ...]) -> Any:
    """Images in another layout; anything else as it is."""
    import tensorflow as tf

    return tf.transpose(tensor, order) if tensor.shape.rank == 4 else tensor


def _padding(layer: Dict[str, Any], shape: Any, kernel: Any) -> Union[str, List[List[int]]]:
    """ "SAME" or "VALID" where that is what the layer asks for, as models in TensorFlow have it, else the amounts."""
    top, left, bottom, right = layer.get("padding", (0, 0, 0, 0))
    if not any((top, left, bottom, right)):
        return "VALID"
    same = []
    for size, extent, stride in zip(shape[1:3], kernel[:2], layer.get("stride", (1, 1))):
        total = max(0, (-(-size // stride) - 1) * stride + extent - size)
        same += [total // 2, total - total // 2]
    return "SAME" if same == [top, bottom, left, right] else [[0, 0], [top, bottom], [left, right], [0, 0]]


def _batchnorm(x: Any, w: Dict[str, Any], epsilon: float) -> Any:
    """The fused operator, which is what Keras takes; it exists in float32 only, and so does Keras in float64 without."""
    import tensorflow as tf

    if x.dtype == tf.float64:
        return tf.nn.batch_normalization(x, w["mean"], w["variance"], w["bias"], w["scale"], epsilon)
    return tf.raw_ops.FusedBatchNormV3(
        x=x,
        scale=w["scale"],
        offset=w["bias"],
        mean=w["mean"],
        variance=w["variance"],
        epsilon=epsilon,
        is_training=False,
    ).y
