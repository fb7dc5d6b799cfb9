"""The paper's two deep models: ResNet50V2 at 32 x 32 and ResNet50 at 224 x 224, layer by layer as keras.applications builds them.

He et al., "Identity Mappings in Deep Residual Networks" (2016) and "Deep Residual Learning for Image Recognition" (2016). Weights are
seeded; the last convolution of each block is scaled down, so that what flows through fifty layers of random weights
neither vanishes nor grows beyond float32.
"""

from __future__ import annotations

from numdev.workloads.net import Net

# Filters and blocks of the four segments.
SEGMENTS = ((64, 3), (128, 4), (256, 6), (512, 3))
EPSILON = 1.001e-5


def large() -> tuple[Net, dict[str, str]]:
    """ResNet50V2 without its top at 32 x 32 x 3, flattened, ten classes."""
    net = Net(3, (3, 32, 32))
    _stem(net, activated=False)
    for index, (filters, blocks) in enumerate(SEGMENTS):
        for block in range(blocks):
            # Here the last block of a segment halves the image, and the last segment does not.
            stride = 2 if block == blocks - 1 and index < len(SEGMENTS) - 1 else 1
            _before_activation(net, filters, stride, first=not block)
    _normalised(net)
    features = net.last
    net.flatten()
    logits = net.dense(10)
    return net, {"features": features, "logits": logits, "probabilities": net.softmax()}


def deep_weeds() -> tuple[Net, dict[str, str]]:
    """ResNet50 at 224 x 224 x 3, pooled, nine classes (Olsen et al., "DeepWeeds", 2019)."""
    net = Net(4, (3, 224, 224))
    _stem(net, activated=True)
    for index, (filters, blocks) in enumerate(SEGMENTS):
        for block in range(blocks):
            _after_activation(net, filters, 2 if index and not block else 1, first=not block)
    features = net.last
    net.global_average_pool()
    logits = net.dense(9)
    return net, {"features": features, "logits": logits, "probabilities": net.softmax()}


def _stem(net: Net, *, activated: bool) -> None:
    net.pad(3)
    net.conv(64, 7, 2, valid=True)
    if activated:
        _normalised(net)
    net.pad(1)
    net.maxpool(3, 2, valid=True)


def _normalised(net: Net) -> None:
    net.batchnorm(EPSILON)
    net.relu()


def _before_activation(net: Net, filters: int, stride: int, *, first: bool) -> None:
    """A block of ResNetV2: normalised before it is convolved, and added without an activation."""
    given = net.last
    _normalised(net)
    inner = net.last
    if first:
        shortcut = net.conv(4 * filters, 1, stride)
    else:
        shortcut = net.maxpool(1, stride, source=given) if stride > 1 else given
    net.conv(filters, 1, bias=False, source=inner)
    _normalised(net)
    net.pad(1)
    net.conv(filters, 3, stride, bias=False, valid=True)
    _normalised(net)
    net.add(shortcut, net.conv(4 * filters, 1, gain=-1))


def _after_activation(net: Net, filters: int, stride: int, *, first: bool) -> None:
    """A block of ResNet: convolved, normalised, added, activated."""
    shortcut = given = net.last
    if first:
        net.conv(4 * filters, 1, stride)
        shortcut = net.batchnorm(EPSILON)
    net.conv(filters, 1, stride, source=given)
    _normalised(net)
    net.conv(filters, 3)
    _normalised(net)
    net.conv(4 * filters, 1, gain=-1)
    net.add(shortcut, net.batchnorm(EPSILON))
    net.relu()
