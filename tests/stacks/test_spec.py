from __future__ import annotations

from pathlib import Path

import pytest

from numdev.errors import InvalidInput
from numdev.spec.stack import load_base, load_stack, stack_names
from numdev.stacks.lock import Locked, format_lock, parse_lock, read_lock

IMAGES = Path(__file__).resolve().parents[2] / "images"


def write(images: Path, text: str, name: str = "mine") -> Path:
    (images / name).mkdir(parents=True)
    (images / name / "stack.yaml").write_text(text)
    (images / "base").mkdir()
    (images / "base" / "bookworm.yaml").write_bytes((IMAGES / "base" / "bookworm.yaml").read_bytes())
    return images


def test_every_stack_of_ours_is_valid_and_locked() -> None:
    names = stack_names(IMAGES)
    assert {"numpy-1.26", "numpy-2.4", "onnxruntime-1.17", "onnxruntime-1.32", "tensorflow-2.5", "torch-2.13"} <= set(
        names
    )
    for name in names:
        stack = load_stack(IMAGES, name, "x86_64")
        assert "threadpoolctl" in read_lock(stack)
        text = stack.lock.read_text()
        assert "://" not in text
        assert "/home" not in text
        assert load_base(IMAGES, stack.base).python == stack.python


def test_a_missing_stack_lists_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"there are: .*numpy-2\.4"):
        load_stack(IMAGES, "numpy-0.1")
    with pytest.raises(InvalidInput, match="--images"):
        stack_names(tmp_path / "none")


@pytest.mark.parametrize("name", ["../x", "", "A", "a/b", "."])
def test_a_name_never_leads_out_of_the_folder(name: str) -> None:
    with pytest.raises(InvalidInput):
        load_stack(IMAGES, name)


def test_all_problems_are_listed_at_once(tmp_path: Path) -> None:
    text = 'base: bookworm\npython: "4"\nbackend: caffe\nspeed: fast\npins:\n  Numpy: ">=1"\n'
    with pytest.raises(InvalidInput) as caught:
        load_stack(write(tmp_path, text), "mine")
    text = str(caught.value)
    for part in ("python", "backend", "speed: unknown key", "'Numpy'", "'>=1'", "onnxruntime"):
        assert part in text


def test_a_cpython_that_the_base_has_not(tmp_path: Path) -> None:
    text = 'base: bookworm\npython: "3.13"\nbackend: numpy\npins:\n  numpy: "2.4.6"\n'
    with pytest.raises(InvalidInput, match=r"has CPython 3\.11, not 3\.13"):
        load_stack(write(tmp_path, text), "mine")


def test_an_unknown_base_and_a_pin_that_is_none(tmp_path: Path) -> None:
    text = 'base: sid\npython: "3.11"\nbackend: numpy\nfrom_pip: [torch]\noverrides: [wrapt]\npins:\n  numpy: "2.4.6"\n'
    with pytest.raises(InvalidInput) as caught:
        load_stack(write(tmp_path, text), "mine")
    assert len(caught.value.problems) == 3
    assert "overrides: 'wrapt' is not among the pins" in str(caught.value)
    assert "there are: bookworm" in str(caught.value)


def test_a_dockerfile_has_to_be_there(tmp_path: Path) -> None:
    text = 'base: none\npython: "3.11"\nbackend: numpy\ndockerfile: Dockerfile\n'
    images = write(tmp_path, text)
    with pytest.raises(InvalidInput, match="Dockerfile does not exist"):
        load_stack(images, "mine")
    (images / "mine" / "Dockerfile").write_text("FROM scratch\n")
    assert load_stack(images, "mine").dockerfile == images / "mine" / "Dockerfile"
    (images / "mine" / "stack.yaml").write_text(text.replace("Dockerfile", "../Dockerfile"))
    with pytest.raises(InvalidInput, match="own folder"):
        load_stack(images, "mine")


def test_a_lock_goes_there_and_back() -> None:
    locked = {"b": Locked("b", "1.0+cpu", ("0" * 64, "1" * 64)), "a": Locked("a", "2", ("2" * 64,))}
    data = format_lock(locked, "mine")
    assert parse_lock(data, "x") == (dict(sorted(locked.items())), [])
    assert format_lock(dict(reversed(locked.items())), "mine") == data


def test_a_lock_that_is_wrong_in_many_ways() -> None:
    digest = "--hash=sha256:" + "0" * 64
    data = f"a==1\nb==1 \\\n  {digest}\nb==1 {digest}\nc>=1 {digest}\nd==1 --hash=md5:00\n-r other\n"
    _, problems = parse_lock(data.encode(), "lock")
    found = [str(problem) for problem in problems]
    assert len(found) == 5
    for line, part in ((1, "a has no hash"), (4, "b stands twice"), (5, "'c>=1'"), (6, "md5"), (7, "'-r'")):
        assert any(text.startswith(f"lock:{line}: ") and part in text for text in found)
    assert parse_lock(b"\xff", "lock")[1]
    assert parse_lock(b"# nothing\n", "lock")[1]


def test_a_lock_that_does_not_fit_the_pins(tmp_path: Path) -> None:
    text = 'base: bookworm\npython: "3.11"\nbackend: numpy\npins:\n  numpy: "2.4.6"\n  onnx: "1.0"\n'
    images = write(tmp_path, text)
    stack = load_stack(images, "mine")
    with pytest.raises(InvalidInput, match="numdev images lock mine"):
        read_lock(stack)
    stack.lock.write_bytes(format_lock({"numpy": Locked("numpy", "2.4.5", ("0" * 64,))}, "mine"))
    with pytest.raises(InvalidInput) as caught:
        read_lock(stack)
    assert "stack.yaml pins 2.4.6" in str(caught.value)
    assert "onnx is pinned" in str(caught.value)
