"""What the backends share that have channels last."""

from __future__ import annotations

import numpy as np

from numdev.worker.backends import nhwc


def test_weights_in_its_layout():
    conv = np.arange(2 * 3 * 5 * 7, dtype=np.float32).reshape(2, 3, 5, 7)
    dense = np.arange(6, dtype=np.float32).reshape(2, 3)
    arrays = {"c": conv, "d": dense, "b": np.zeros(2, np.float32)}
    found = nhwc.weights_of({"op": "conv", "weight": "c", "bias": "b"}, arrays)
    assert found["weight"].shape == (5, 7, 3, 2)
    assert found["weight"][4, 6, 1, 0] == conv[0, 1, 4, 6]
    assert found["weight"].flags.c_contiguous
    assert set(found) == {"weight", "bias"}
    assert nhwc.weights_of({"op": "dense", "weight": "d"}, arrays)["weight"].tolist() == dense.T.tolist()
    assert nhwc.weights_of({"op": "relu"}, arrays) == {}
