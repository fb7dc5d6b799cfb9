"""TensorFlow's backend where it needs no TensorFlow: how layers and weights are put into its words."""

from __future__ import annotations

import pytest

from numdev.worker.backends import tensorflow_
from numdev.workloads import net


@pytest.mark.parametrize(("size", "kernel", "stride"), [(32, 3, 1), (32, 7, 2), (9, 3, 2), (8, 2, 2), (5, 4, 1)])
def test_same_padding_is_called_so(size, kernel, stride):
    padding, _ = net.same((size, size + 1), kernel, stride)
    layer = {"padding": padding, "stride": [stride, stride]}
    found = tensorflow_._padding(layer, (1, size, size + 1, 3), (kernel, kernel))
    assert found == ("SAME" if any(padding) else "VALID")


def test_other_padding_is_explicit():
    layer = {"padding": [1, 2, 3, 4], "stride": [1, 1]}
    assert tensorflow_._padding(layer, (1, 9, 9, 3), (3, 3)) == [[0, 0], [1, 3], [2, 4], [0, 0]]
    assert tensorflow_._padding({"stride": [1, 1]}, (1, 9, 9, 3), (3, 3)) == "VALID"
    # What `same` would be with one pixel more before than after: TensorFlow has the odd one after.
    layer = {"padding": [1, 1, 0, 0], "stride": [2, 2]}
    assert tensorflow_._padding(layer, (1, 8, 8, 3), (3, 3)) == [[0, 0], [1, 0], [1, 0], [0, 0]]
