"""Tables in Feather files, and what they say of multiplications."""

from __future__ import annotations

import io
import runpy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from numdev.imports import import_unannticipated, tables
from numdev.imports.multiplications import evaluate, spearman
from numdev.imports.tables import NoTable, read_table

repository = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("repository.py"))))
PATH = f"{repository.RESULTS}/num_multiplications/single_layer/2022/data.feather"


def columns(far=False):
    """Three convolutions with two pairs each; with `far`, other weights in one pair."""
    found = {name: [] for name in ("c", "f", "k", "i", "multiplications", "precision", "l2_distance")}
    for place, (size, bits) in enumerate(((2, 20), (4, 12), (8, 9))):
        for pair in range(2):
            row = (1, 1, 3, size, 9 * size * size, bits + pair, 50.0 if far and place == 1 and pair else 1e-7)
            for name, value in zip(found, row, strict=True):
                found[name].append(value)
    return found


def feather(data, compression="lz4"):
    pyarrow = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    from pyarrow import feather as format

    file = io.BytesIO()
    format.write_feather(pyarrow.table(data), file, compression=compression)
    return file.getvalue()


def test_bits_fall_with_multiplications():
    found = evaluate("x", columns())
    assert (found.configurations, found.mixed) == (3, ())
    assert found.spearman == pytest.approx(-1)


def test_two_sets_of_weights_are_named_and_nothing_is_computed_from_them():
    found = evaluate("x", columns(far=True))
    assert found.mixed == ("c1 f1 k3 i4",)
    assert found.spearman is None


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        ({"c": None}, "no column c"),
        ({"precision": [None] * 6}, "missing"),
        ({"l2_distance": [float("inf")] * 6}, "missing"),
        ({"i": [0] * 6}, "outputs"),
    ],
)
def test_other_tables_are_refused(broken, message):
    data = {**columns(), **broken}
    with pytest.raises(ValueError, match=message):
        evaluate("x", {name: values for name, values in data.items() if values is not None})


def test_spearman_with_ties_is_that_of_the_books():
    # Worked by hand: ranks 1, 2.5, 2.5, 4 against 1, 3, 2, 4.
    assert spearman([1, 5, 5, 9], [10, 30, 20, 40]) == pytest.approx(np.corrcoef([1, 2.5, 2.5, 4], [1, 3, 2, 4])[0, 1])
    assert spearman([1, 1], [1, 2]) is None
    assert spearman([], []) is None


@pytest.mark.parametrize("compression", ["lz4", "zstd", "uncompressed"])
def test_columns_of_numbers_are_read(compression):
    data = {**columns(), "host": ["a"] * 6}
    assert read_table(feather(data, compression)) == columns()


@pytest.mark.parametrize("data", [b"", b"ARROW1", b"ARROW1" + bytes(100) + b"ARROW1", b"\x80\x04pickle"])
def test_what_is_no_table_is_refused(data):
    pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    with pytest.raises(NoTable, match="no Feather file"):
        read_table(data)


def test_damage_ends_the_reader_and_not_the_import():
    whole = feather(columns())
    for place in range(8, len(whole), max(1, len(whole) // 12)):
        try:
            found = read_table(whole[:place] + b"\xff\xff\xff\x7f" + whole[place + 4 :])
        except NoTable:
            continue
        assert all(isinstance(values, list) for values in found.values())


def test_too_large_a_table_is_refused(monkeypatch):
    rows = 1_000_001
    with pytest.raises(NoTable, match=f"{rows} rows"):
        read_table(feather({"c": np.zeros(rows, np.int8)}))


def test_without_pyarrow_the_remedy_is_said(monkeypatch, tmp_path, store):
    monkeypatch.setattr(tables.importlib.util, "find_spec", lambda name: None)
    report = import_unannticipated(repository.write(tmp_path / "checkout", {PATH: b"ARROW1"}), store)
    (left,) = report.left_out
    assert left.path == PATH
    assert "pip install 'numdev[feather]'" in left.what


def test_the_import_evaluates_a_table(tmp_path, store):
    folder = repository.write(tmp_path / "checkout", {PATH: feather(columns())})
    report = import_unannticipated(folder, store)
    assert not report.left_out
    assert "Spearman -1.00" in "\n".join(report.lines())
    folder = repository.write(tmp_path / "far", {PATH: feather(columns(far=True))})
    lines = "\n".join(import_unannticipated(folder, store).lines())
    assert "sets of weights are mixed in 1 configurations of 3: c1 f1 k3 i4" in lines
    assert "Spearman" not in lines
