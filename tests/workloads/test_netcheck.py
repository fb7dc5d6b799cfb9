"""Networks that are not whole: each mistake is found, and what is right passes."""

from __future__ import annotations

import numpy as np
import pytest

from numdev.workloads import net
from numdev.workloads.netcheck import check


def network():
    """A small residual network with every operation."""
    made = net.Net(7, (3, 8, 8))
    start = made.conv(4, 3)
    made.batchnorm()
    inner = made.relu()
    made.add(start, inner)
    made.maxpool(3, 2)
    made.flatten()
    made.dense(5)
    for op in ("exp", "tanh", "sigmoid", "sqrt", "rsqrt", "reciprocal"):
        made._add(op, made.shape[made.last], made.last, {})
    outputs = {"probabilities": made.softmax()}
    return made.description(outputs), dict(made.weights)


LAYERS = [layer["op"] for layer in network()[0]["layers"]]


def layer_of(description, op):
    return description["layers"][LAYERS.index(op)]


@pytest.mark.parametrize("build", [net.small, net.medium, net.five, net.late])
def test_our_own_are_whole(build):
    made, outputs = build()
    assert check(made.description(outputs), made.weights) == []


def test_every_operation_is_whole():
    assert check(*network()) == []


def change(op, /, **changes):
    def apply(description, weights):
        layer = layer_of(description, op)
        for key, value in changes.items():
            if value is None:
                del layer[key]
            else:
                layer[key] = value

    return apply


def reshape(op, key, *shape):
    def apply(description, weights):
        weights[layer_of(description, op)[key]] = np.zeros(shape, np.float32)

    return apply


def more(name, dtype=np.float32):
    def apply(description, weights):
        weights[name] = np.zeros(3, dtype)

    return apply


def described(key, value):
    def apply(description, weights):
        description[key] = value

    return apply


@pytest.mark.parametrize(
    ("apply", "said"),
    [
        (change("conv", op="conv3d"), "unknown operation"),
        (change("conv", input="nothing"), "'nothing' is not there yet"),
        (change("conv", input="probabilities"), "'probabilities' is not there yet"),
        (change("relu", output="input"), "'input' is written twice"),
        (change("conv", weight=None), "has no weight"),
        (change("batchnorm", mean=None), "has no mean"),
        (change("conv", weight="nowhere"), "there is no array 'nowhere'"),
        (change("conv", bias="nowhere"), "there is no array 'nowhere'"),
        (change("conv", stride=None), "stride must be 2 whole numbers"),
        (change("conv", stride=1), "stride must be 2 whole numbers"),
        (change("conv", stride=[0, 1]), "must not be zero"),
        (change("conv", padding=[1, 1]), "padding must be 4 whole numbers"),
        (change("conv", padding=[1, 1, 1, -1]), "padding must be 4 whole numbers"),
        (change("maxpool", kernel=[3.0, 3.0]), "kernel must be 2 whole numbers"),
        (change("maxpool", kernel=[0, 3]), "must not be zero"),
        (change("maxpool", kernel=[99, 99]), "is larger than"),
        (change("add", input=["input"]), "has 1 inputs"),
        (change("add", input=["input", "conv_0"]), "adds (3, 8, 8) and (4, 8, 8)"),
        (change("relu", input=["input", "conv_0"]), "has 2 inputs"),
        (change("batchnorm", epsilon=0.0), "epsilon is not positive"),
        (change("dense", input="input"), "do not fit"),
        (change("flatten", op="global_average_pool"), "do not fit"),
        (change("softmax", op="flatten"), "needs [C, H, W]"),
        (reshape("conv", "weight", 4, 2, 3, 3), "do not fit"),
        (reshape("conv", "weight", 4, 3), "do not fit"),
        (reshape("conv", "bias", 3), "do not fit"),
        (reshape("batchnorm", "variance", 1), "do not fit"),
        (reshape("dense", "weight", 64, 5), "do not fit"),
        (reshape("dense", "bias", 1), "do not fit"),
        (more("idle"), "the array 'idle' is used by no layer"),
        (more("half", np.float16), "the array 'half' is float16"),
        (described("outputs", ["logits"]), "the output 'logits' is no layer's"),
        (described("shapes", {}), "shapes: 'input' is None"),
    ],
)
def test_what_is_wrong_is_said(apply, said):
    description, weights = network()
    apply(description, weights)
    found = check(description, weights)
    assert any(said in problem for problem in found), found
    with pytest.raises(ValueError):
        net.pack(description, weights)


def test_everything_is_found_at_once():
    description, weights = network()
    change("conv", stride=None)(description, weights)
    more("idle")(description, weights)
    described("outputs", ["logits"])(description, weights)
    assert len(check(description, weights)) >= 3
