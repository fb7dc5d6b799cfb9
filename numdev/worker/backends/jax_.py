"""JAX on the CPU: networks in the `net` format as one function, compiled by XLA for the processor that it sees.

Values are NHWC inside, as flax has them, and NCHW outside. Weights are arguments, as flax's parameters: of constants,
XLA would compute a part beforehand.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from typing import Any, Callable, Dict, List, Optional, Tuple

import numpy as np

from .. import net
from ..layers import Tapping
from ..tensors import Refused, cast
from . import Task, Unsupported, nhwc

# What XLA says of what it has compiled, and the threads that it has; see readback.py.
CHOSEN: Dict[str, Any] = {}

# Why JAX cannot be imported here.
_LACKING: List[str] = []

# The two variables that XLA's client for processors takes its number of threads from, and what it calls each of them.
_THREADS = ("PJRT_NPROC", "NPROC")
_THREAD = "tf_XLAEigen"
# What JAX's own switch `jax_disable_most_optimizations` sets.
_OFF = {"xla_backend_optimization_level": "0", "xla_llvm_disable_expensive_passes": "true"}
# XLA takes no notice of an instruction set that it does not know, but for a line in the log.
_ISA = "xla_cpu_max_isa"
_ISAS = ("SSE4_2", "AVX", "AVX2", "AVX512", "AVX512_VNNI", "AVX512_BF16", "AMX", "AMX_FP16")
_BOOL = {"true": True, "false": False}
_ELEMENTWISE = {
    "relu": "nn.relu",
    "exp": "numpy.exp",
    "tanh": "numpy.tanh",
    "sigmoid": "nn.sigmoid",
    "sqrt": "numpy.sqrt",
    "rsqrt": "lax.rsqrt",
    "reciprocal": "numpy.reciprocal",
}


def preload() -> None:
    """The import alone starts no thread; the client, which has some, belongs to a cell."""
    try:
        import jax  # noqa: F401
    except RuntimeError as error:
        # The wheel is compiled for AVX, and says so. It is each cell's to tell: half imported, JAX says less the next time.
        _LACKING.append(f"JAX cannot be imported: {' '.join(str(error).split())}")


def prepare(task: Task) -> Callable[[], Dict[str, np.ndarray]]:
    return nhwc.prepare(task, _function)


def tapping(task: Task) -> Tapping:
    return nhwc.tapping(task, _function)


def _function(task: Task, network: nhwc.Network, added: Sequence[str]) -> Callable[[], nhwc.Made]:
    """A compiled function that infers once: the network's outputs, and the layers that are asked for besides."""
    if task.precision not in ("float32", "float64"):
        raise Unsupported(f"JAX does not compute in {task.precision} here")
    settings = options(task)
    jax = _jax(task)
    description, arrays = network
    weights = [
        {key: jax.device_put(cast(array, task.precision)) for key, array in nhwc.weights_of(layer, arrays).items()}
        for layer in description["layers"]
    ]
    inputs = {name: jax.device_put(cast(array, task.precision)) for name, array in task.inputs.items()}
    lowered = jax.jit(lambda values, w: _graph(description, w, values, added)).lower(inputs, weights)
    try:
        compiled = lowered.compile(compiler_options=settings or None)
    except jax.errors.JaxRuntimeError as error:
        if settings and "INVALID_ARGUMENT" in str(error):
            raise Unsupported(f"XLA refuses what session says: {error}") from None
        raise
    CHOSEN.update(said(compiled.runtime_executable()))

    def infer() -> nhwc.Made:
        outputs, more = compiled(inputs, weights)
        seen = {name: nhwc.outside(np.asarray(more[name])) for name in added}
        return {name: np.asarray(outputs[name]) for name in description["outputs"]}, seen

    return infer


def options(task: Task) -> Dict[str, Any]:
    """XLA's options of one compilation: those of `session`, by XLA's own names, and what `optimization` sets."""
    given = {**(_OFF if task.optimization == "off" else {}), **task.session}
    if _ISA in given:
        # As an option of a compilation it is taken without a word, and without an effect.
        raise Unsupported(f"XLA reads {_ISA} from its environment alone: env.XLA_FLAGS: --{_ISA}={given[_ISA]}")
    for isa in re.findall(rf"--{_ISA}=(\S*)", os.environ.get("XLA_FLAGS", "")):
        if isa.upper() not in _ISAS:
            raise Unsupported(f"XLA knows no instruction set {isa!r} and would take all; it knows {', '.join(_ISAS)}")
    return {key: _BOOL.get(value.lower(), value) for key, value in given.items()}


def _jax(task: Task) -> Any:
    """The module, set up: one device, a processor, with as many threads as the task asks for and not one more."""
    for name in _THREADS:
        if os.environ.get(name, str(task.threads)) != str(task.threads):
            raise Unsupported(f"env.{name} is {os.environ[name]} and threads is {task.threads}: leave it to threads")
        os.environ[name] = str(task.threads)
    if not _LACKING:
        preload()
    if _LACKING:
        raise Unsupported(_LACKING[0])
    import jax

    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_enable_x64", task.precision == "float64")
    # Here the client is made, if it is not there already.
    jax.devices()
    there = threads()
    if there != task.threads:
        raise Unsupported(f"XLA has {there} threads to compute with, where {task.threads} were asked for")
    CHOSEN.update(jax_threads=there, jax_flags=os.environ.get("XLA_FLAGS", ""))
    return jax


def threads() -> int:
    """The threads of this process that share XLA's work, by the name that it gives them."""
    count = 0
    for thread in os.listdir("/proc/self/task"):
        try:
            with open(f"/proc/self/task/{thread}/comm") as file:
                count += file.read().strip() == _THREAD
        except OSError:
            # It has ended in between.
            continue
    return count


def said(executable: Any) -> Dict[str, Any]:
    """What a compiled function was compiled for, and by what libraries beside XLA's own code it computes."""
    cpu, features = target(bytes(executable.serialize()))
    text = "".join(module.to_string() for module in executable.hlo_modules())
    named = re.findall(r'"kind":"__(\w+)"|custom_call_target="([^"]+)"', text)
    return {
        "jax_target": cpu,
        "jax_features": features,
        "jax_libraries": sorted({one or other for one, other in named}),
    }


def target(data: bytes) -> Tuple[str, Optional[List[str]]]:
    """LLVM's name of the processor and the features in a serialised executable; ("", None) where it does not say.

    They stand there behind one another as a message of XLA's: triple, processor, features, each with its tag and length.
    """
    for found in re.finditer(rb"\n.(?:x86_64|aarch64)-", data, re.DOTALL):
        at, fields = found.start(), []
        for tag in (0x0A, 0x12, 0x1A):
            if data[at : at + 1] != bytes([tag]):
                break
            size, at = _length(data, at + 1)
            fields.append(data[at : at + size].decode("ascii", "replace"))
            at += size
        if len(fields) == 3:
            return fields[1], sorted(word[1:] for word in fields[2].split(",") if word.startswith("+"))
    return "", None


def _length(data: bytes, at: int) -> Tuple[int, int]:
    """A number in seven bits a byte, the lowest first, and where it ends."""
    value = shift = 0
    while at < len(data):
        value |= (data[at] & 0x7F) << shift
        shift, at = shift + 7, at + 1
        if data[at - 1] < 0x80:
            break
    return value, at


def around(layer: Dict[str, Any]) -> List[Tuple[int, int]]:
    """What is added before and behind each axis of an image."""
    top, left, bottom, right = layer.get("padding", (0, 0, 0, 0))
    return [(0, 0), (top, bottom), (left, right), (0, 0)]


def _graph(
    description: Dict[str, Any], weights: List[Dict[str, Any]], inputs: Dict[str, Any], added: Sequence[str]
) -> Tuple[Dict[str, Any], Dict[str, Any]]:
    """The network's outputs, of arrays as the `net` format has them, and the `added` layers as they are inside."""
    import jax
    from jax import lax
    from jax import numpy as jnp

    values = {name: _moved(array, (0, 2, 3, 1)) for name, array in inputs.items()}
    for layer, w in zip(description["layers"], weights):
        x, *others = (values[name] for name in net.names(layer))
        operation = layer["op"]
        strides = tuple(layer.get("stride", (1, 1)))
        if operation == "conv":
            dimensions = ("NHWC", "HWIO", "NHWC")
            y = lax.conv_general_dilated(x, w["weight"], strides, around(layer)[1:3], dimension_numbers=dimensions)
            y = y + w["bias"] if "bias" in w else y
        elif operation == "maxpool":
            window = (1, *layer["kernel"], 1)
            y = lax.reduce_window(x, -np.inf, lax.max, window, (1, *strides, 1), around(layer))
        elif operation == "pad":
            y = jnp.pad(x, around(layer))
        elif operation == "dense":
            y = jnp.dot(x, w["weight"])
            y = y + w["bias"] if "bias" in w else y
        elif operation == "batchnorm":
            # In the order of flax.
            y = (x - w["mean"]) * (lax.rsqrt(w["variance"] + layer["epsilon"]) * w["scale"]) + w["bias"]
        elif operation == "softmax":
            # The last axis outside is the last but one inside.
            y = jax.nn.softmax(x, axis=2 if x.ndim == 4 else -1)
        elif operation == "flatten":
            y = _moved(x, (0, 3, 1, 2)).reshape(x.shape[0], -1)
        elif operation == "add":
            y = x + others[0]
        elif operation == "global_average_pool":
            y = jnp.mean(x, axis=(1, 2))
        elif operation in _ELEMENTWISE:
            module, _, name = _ELEMENTWISE[operation].partition(".")
            y = getattr(getattr(jax, module), name)(x)
        else:
            raise Refused(f"unknown operation {operation!r}")
        values[layer["output"]] = y
    outputs = {name: _moved(values[name], (0, 3, 1, 2)) for name in description["outputs"]}
    return outputs, {name: values[name] for name in added}


def _moved(array: Any, order: Tuple[int, ...]) -> Any:
    """Images in another layout; anything else as it is."""
    return array.transpose(order) if array.ndim == 4 else array
