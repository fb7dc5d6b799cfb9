"""A sample: as many as asked for, always the same, and nothing left out that there was room for."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from numdev.bundle.groups import Group, sample, uncovered
from numdev.bundle.layout import CellLine


def group(at: int, levels: list[str], outcome: int) -> Group:
    factors = {f"f{key}": level for key, level in enumerate(levels)} | {"number": str(at)}
    line = CellLine(
        digest=f"{at:064x}", workload="w", factors=factors, replicate=1, status="ok", outputs=[f"{outcome:064x}"]
    )
    return Group("w", factors, "", (line,))


CELLS = st.lists(
    st.tuples(st.lists(st.sampled_from("abc"), min_size=2, max_size=2), st.integers(0, 3)), min_size=1, max_size=30
).map(lambda rows: [group(at, levels, outcome) for at, (levels, outcome) in enumerate(rows)])


@given(cells=CELLS, most=st.integers(1, 40))
def test_a_sample_is_as_large_as_asked_for_and_has_all_classes_that_there_is_room_for(cells, most):
    chosen = sample(cells, most)
    assert len(chosen) == min(most, len(cells))
    assert len({one.key for one in chosen}) == len(chosen)
    assert chosen == sample(list(cells), most)
    classes = {one.outcome for one in cells}
    if most >= len(classes):
        assert {one.outcome for one in chosen} == classes
    # Of the factors that are not different in each cell, levels are few: with one cell for each of them, all are there.
    levels = {(key, level) for one in cells for key, level in one.factors.items() if key != "number"}
    if most >= len(levels) + len(classes) or len(levels) <= most < len(classes):
        assert not {text for text in uncovered(cells, chosen) if not text.startswith("number")}


@given(cells=CELLS)
def test_all_cells_are_a_sample_that_leaves_nothing_out(cells):
    assert sample(cells, len(cells)) == cells
    assert uncovered(cells, sample(cells, len(cells))) == []
