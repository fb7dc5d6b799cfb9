"""Which kinds of layers amplify or absorb a deviation, in numbers and in words."""

from __future__ import annotations

import math
from collections.abc import Sequence

from numdev.analysis.numbers import number, whole
from numdev.analysis.ranks import spearman
from numdev.analysis.sentences import plural
from numdev.analysis.tracing import ABSORBS, AMPLIFIES, BEGINS, CHANGE, KEEPS, VANISHES, Kind, LayerStep

SUMS, OTHER = "sums of products", "other layers"
# The kinds of the `net` format's operations and of ONNX's operators, in lower case without what joins words.
_KINDS = {
    SUMS: "conv dense gemm matmul convinteger matmulinteger qlinearconv qlinearmatmul convtranspose fusedconv einsum",
    "activation": "relu leakyrelu prelu elu selu sigmoid hardsigmoid tanh softplus gelu erf hardswish swish clip exp log softmax "
    "logsoftmax mish celu sqrt rsqrt reciprocal",
    "pooling": "maxpool averagepool globalaveragepool globalmaxpool reducemean reducemax lppool",
    "normalisation": "batchnorm batchnormalization layernormalization instancenormalization groupnormalization lrn lpnormalization "
    "simplifiedlayernormalization",
    "addition": "add sub sum",
    "quantisation": "quantizelinear dequantizelinear dynamicquantizelinear",
}
_KIND_OF = {op: kind for kind, ops in _KINDS.items() for op in ops.split()}
_FEWEST = 4


def kind_of(op: str) -> str:
    return _KIND_OF.get(op.lower().replace("_", ""), OTHER)


def by_kind(steps: Sequence[LayerStep]) -> tuple[Kind, ...]:
    """In the order in which kinds first occur; layers that were not looked at do not count."""
    effects = (BEGINS, AMPLIFIES, KEEPS, ABSORBS, VANISHES)
    groups: dict[str, list[LayerStep]] = {}
    for step in steps:
        if step.effect in effects:
            groups.setdefault(kind_of(step.op), []).append(step)
    return tuple(
        Kind(
            kind=kind,
            layers=len(some),
            factor=_mean([step.factor for step in some if step.factor]),
            **{effect: sum(step.effect == effect for step in some) for effect in effects},
        )
        for kind, some in groups.items()
    )


def sentences(steps: Sequence[LayerStep], kinds: Sequence[Kind], first: str, unseen: Sequence[str]) -> tuple[str, ...]:
    """Where it begins, how it grows with depth, and what each kind of layer does to it."""
    if not first:
        return ("no layer that was looked at in both differs",)
    begin = next(step for step in steps if step.name == first)
    said = [f"the first layer that differs is {first} ({begin.op}){_sized(begin)}"]
    if unseen:
        said.append(
            f"it may have begun before, in what was not looked at: {', '.join(unseen[:6])}{', ...' * (len(unseen) > 6)}"
        )
    differing = [step for step in steps if step.differs]
    again = [step.name for step in differing if step.effect == BEGINS and step.name != first]
    if again:
        shown = ", ".join(again[:6]) + (f" and {len(again) - 6} more" if len(again) > 6 else "")
        said.append(f"it begins again, from equal inputs, in {shown}")
    sized = [step for step in differing if step.relative]
    if len(sized) > 1:
        largest = max(sized, key=lambda step: step.relative or 0)
        ends = f"{number(sized[0].relative)} of its scale at {sized[0].name} to {number(sized[-1].relative)} at {sized[-1].name}"
        said.append(
            f"over {plural(len(differing), 'layer')} that differ it goes from {ends}; largest {number(largest.relative)} at {largest.name}"
        )
    if differing and steps and not steps[-1].differs and steps[-1].effect == VANISHES:
        said.append(f"it does not reach {steps[-1].name}")
    said += [_said(kind) for kind in kinds if kind.layers > kind.begins]
    sums = [step for step in differing if kind_of(step.op) == SUMS and step.factor and step.multiplications]
    rank = spearman([step.multiplications or 0 for step in sums], [step.factor or 0 for step in sums])
    if len(sums) >= _FEWEST and rank is not None:
        said.append(
            f"accumulation length: rank correlation of multiplications and factor {rank:.2f} over {len(sums)} sums of products"
        )
    return tuple(said)


def _sized(step: LayerStep) -> str:
    if step.size is None or step.size.max_abs is None:
        return ""
    ulp = "" if step.size.max_ulp is None else f", {whole(step.size.max_ulp)} ulp"
    return f", by up to {number(step.size.max_abs)} abs{ulp}"


def _said(kind: Kind) -> str:
    """What the layers of a kind do; those in which it begins were given nothing to change."""
    given = kind.layers - kind.begins
    counts = [(kind.amplifies, "amplify"), (kind.keeps, "keep"), (kind.absorbs, "absorb"), (kind.vanishes, "end")]
    each = ", ".join(f"{count} {word} it" for count, word in counts if count)
    if kind.factor is None:
        return f"{kind.kind}: {each}"
    words = "amplified" if kind.factor > CHANGE else "absorbed" if kind.factor < 1 / CHANGE else "kept"
    return f"{kind.kind}: {words}, a factor of {number(kind.factor)} on average ({plural(given, 'layer')}: {each})"


def _mean(factors: Sequence[float]) -> float | None:
    """The geometric mean."""
    return math.exp(sum(map(math.log, factors)) / len(factors)) if factors else None
