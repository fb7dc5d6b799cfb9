"""Hostile bundles: each is refused with a word that names the matter, in bounded memory and time, and nothing is written."""

from __future__ import annotations

import io
import json
import os
import re
import resource
import runpy
import struct
import tarfile
import time
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from numdev import digests
from numdev.bundle import layout
from numdev.bundle.create import Options, create
from numdev.bundle.verify import verify
from numdev.errors import BundleFailed, InvalidInput

forging = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("forging.py"))))
archive, changed, fact, lined, swapped = (
    getattr(forging, name) for name in ("archive", "changed", "fact", "lined", "swapped")
)
LOCK, STACK = "stacks/ort-1/requirements.lock", "stacks/ort-1/stack.yaml"
INPUTS, MODEL = "workloads/own/inputs.npz", "workloads/own/model.onnx"


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    """Members of a good bundle."""
    folder = tmp_path_factory.mktemp("good")
    made = runpy.run_path(str(Path(__file__).with_name("conftest.py")))
    create(made["a_store"](folder / "store"), "m", folder / "one.bundle.tar", folder / "cache", Options())
    return forging.parts_of(folder / "one.bundle.tar")


def refused(path: Path) -> str:
    """What is said of a bundle that must not get through."""
    try:
        report = verify(path)
    except InvalidInput as error:
        code, said = error.code, str(error)
    else:
        assert not report.whole
        code = report.code
        said = "\n".join(str(problem) for check in report.checks for problem in check.problems)
    assert code in (InvalidInput.code, BundleFailed.code)
    assert all(line.isprintable() and line.isascii() for line in said.splitlines())
    assert len(said) < 100_000
    return said


# The archive ------------------------------------------------------------------------------------------------------


def entry(name: str, data: bytes = b"x", **how) -> bytes:
    """A member as any tar may have it."""
    info = tarfile.TarInfo(name)
    info.size = len(data)
    for key, value in how.items():
        setattr(info, key, value)
    form = tarfile.PAX_FORMAT if len(name) > 255 else tarfile.USTAR_FORMAT
    body = data if info.isreg() else b""
    info.size = len(body) if "size" not in how else how["size"]
    return info.tobuf(form) + body + b"\0" * (-len(body) % 512)


def beside(parts, more: bytes) -> bytes:
    """A good bundle that goes on with `more` where it should end."""
    return archive(parts)[:-1024] + more + bytes(1024)


def without(parts, *names):
    return {name: data for name, data in parts.items() if name not in names}


def header_with(parts, at: int, data: bytes, fix: bool = True) -> bytes:
    """A good bundle with other bytes in its first header, whose checksum fits."""
    whole = bytearray(archive(parts))
    whole[at : at + len(data)] = data
    if fix:
        whole[148:156] = b" " * 8
        whole[148:156] = b"%06o\0 " % sum(whole[:512])
    return bytes(whole)


ARCHIVES = {
    "a path that leads out": (lambda p: beside(p, entry("one/../../etc/passwd")), "nothing that a bundle has"),
    "a path that leads out at once": (lambda p: beside(p, entry("../one/x.md")), "lies in '..', not in one"),
    "an absolute path": (lambda p: beside(p, entry("/etc/passwd")), "lies in ''|header"),
    "a symbolic link": (lambda p: beside(p, entry("one/z", type=tarfile.SYMTYPE, linkname="/etc")), "a symbolic link"),
    "a hard link": (lambda p: beside(p, entry("one/z", type=tarfile.LNKTYPE, linkname="one/run.json")), "a hard link"),
    "a device": (lambda p: beside(p, entry("one/z", type=tarfile.CHRTYPE)), "a device"),
    "a block device": (lambda p: beside(p, entry("one/z", type=tarfile.BLKTYPE)), "a device"),
    "a pipe": (lambda p: beside(p, entry("one/z", type=tarfile.FIFOTYPE)), "a pipe"),
    "a folder": (lambda p: beside(p, entry("one/z", type=tarfile.DIRTYPE)), "a folder"),
    "an extended header": (lambda p: beside(p, entry("one/z", type=tarfile.XHDTYPE)), "an extended header"),
    "a sparse file": (lambda p: beside(p, entry("one/z", type=tarfile.GNUTYPE_SPARSE)), "a file with holes"),
    "a name of a thousand letters": (lambda p: beside(p, entry("one/" + "z" * 1000)), "an extended header"),
    "an executable": (lambda p: beside(p, entry("one/verify.sh", mode=0o755)), "mode 0644"),
    "somebody's file": (lambda p: beside(p, entry("one/verify.sh", uid=1000)), "owner 0"),
    "the same name twice": (
        lambda p: beside(p, entry("one/workloads/own/model.onnx", mode=0o644)),
        "not sorted, or twice",
    ),
    "names that differ in case": (
        lambda p: archive({**p, "SBOM/ort-1.cdx.json": b"{}"}),
        "nothing that a bundle has",
    ),
    "a name that no bundle has": (lambda p: archive({**p, "readme.exe": b""}), "nothing that a bundle has"),
    "two folders": (lambda p: beside(p, entry("two/z")), "lies in 'two', not in one"),
    "a folder with another name than NAME": (lambda p: archive(p, folder="-rf"), "begins with '-rf'"),
    "something before the manifest": (lambda p: entry("one/ARTIFACT.md") + archive(p), "begins with"),
    "something after its end": (lambda p: archive(p) + b"\0", "nothing after them"),
    "no end": (lambda p: archive(p)[:-1024], "cut off"),
    "cut off in a member": (lambda p: archive(p)[:5000], "cut off"),
    "a size that is longer than the file": (
        lambda p: header_with(p, 124, b"%011o\0" % (60 << 20)),
        "is cut off: 62914560 bytes were announced",
    ),
    "a manifest of eight gigabytes": (lambda p: header_with(p, 124, b"77777777777\0"), "is cut off|more than"),
    "a negative size": (lambda p: header_with(p, 124, b"\xff" * 12), "header"),
    "a name that is no text": (lambda p: header_with(p, 0, b"\xff\xfe"), "no header of a tar"),
    "a header with another checksum": (lambda p: header_with(p, 0, b"two", fix=False), "no header of a tar"),
    "padding that says something": (
        lambda p: archive(p)[: 512 + len(forging.manifest(p))] + b"!" + archive(p)[513 + len(forging.manifest(p)) :],
        "not zeros",
    ),
    "nothing": (lambda p: b"", "cut off"),
    "only an end": (lambda p: bytes(1024), "it is empty"),
    "a zip": (lambda p: zipped({"one/run.json": bytes(1000)}), "no header of a tar"),
    "compressed": (lambda p: b"\x1f\x8b\x08" + bytes(1000), "no header of a tar"),
}


def zipped(files: dict[str, bytes], **how) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", **how) as file:
        for name, data in files.items():
            file.writestr(name, data)
    return stream.getvalue()


# The manifest -----------------------------------------------------------------------------------------------------


def sums(change):
    return lambda p: archive(p, change(forging.manifest(p)))


MANIFESTS = {
    "a digest that is none": (sums(lambda text: b"z" + text[1:]), "no line of sha256sum's"),
    "no end of its last line": (sums(lambda text: text[:-1]), "last line has no end"),
    "a file twice": (sums(lambda text: text + text.splitlines(True)[-1]), "stands twice"),
    "a file that is not there": (sums(lambda text: text + b"0" * 64 + b"  zzz\n"), "'zzz': is missing"),
    "a path that leads out, too": (sums(lambda text: text + b"0" * 64 + b"  ../../x\n"), "'../../x': is missing"),
    "a file is not named": (
        sums(lambda text: b"".join(text.splitlines(True)[1:])),
        "is there, but the manifest does not name it",
    ),
    "another order": (sums(lambda text: b"".join(reversed(text.splitlines(True)))), "not in the archive's order"),
    "a changed digest": (sums(lambda text: b"0" * 64 + text[64:]), "was changed: its SHA-256"),
    "millions of empty lines": (sums(lambda text: b"\n" * (8 << 20)), "no line of sha256sum's"),
}

# JSON, YAML and what they say -------------------------------------------------------------------------------------


def text(name: str, data: bytes):
    return lambda p: archive({**p, name: data})


def described(**how):
    return lambda p: archive(changed(p, layout.DESCRIPTION, lambda value: value.update(how)))


def ran(**how):
    return lambda p: archive(changed(p, layout.RUN, lambda value: value.update(how)))


def cell(number: int = 0, **how):
    return lambda p: archive(lined(p, layout.CELLS, number, lambda value: value.update(how)))


def said(number: int, key: str, change):
    return lambda p: archive(fact(p, number, key, change))


def line(data: bytes, name: str = layout.CELLS):
    return lambda p: archive({**p, name: data + b"\n" + p[name]})


TEXTS = {
    "no description": (lambda p: archive(without(p, layout.DESCRIPTION)), "numdev-bundle.json: is missing"),
    "no run": (lambda p: archive(without(p, layout.RUN)), "run.json: is missing"),
    "no version": (described(**{"numdev-bundle": "1"}), "is no version"),
    "a version of true": (described(**{"numdev-bundle": True}), "is no version"),
    "a later version": (described(**{"numdev-bundle": 99}), "this numdev knows 1"),
    "another name": (described(name="two"), "says that the bundle is 'two'"),
    "keys that steer a terminal": (described(**{"\x1b[2J": 1}), "unknown key"),
    "a key twice": (text(layout.RUN, b'{"run": 1, "run": 1}'), "a key stands twice"),
    "nested a million deep": (text(layout.RUN, b'{"a":' * 500_000), "more than 300000 values"),
    "nested a hundred thousand deep": (text(layout.RUN, b'{"a":' * 100_000), "nested too deeply|not JSON"),
    "nested a thousand deep": (line(b'{"a":' + b"[" * 900 + b"]" * 900 + b"}"), "nested more than 32 deep|too deeply"),
    "not a number": (line(b'{"seconds":NaN}'), "NaN is no JSON"),
    "infinity": (text(layout.RUN, b'{"run": 1e999}'), "more than a number can be"),
    "a number of a million digits": (line(b'{"seconds":' + b"9" * 1_000_000 + b"}"), "a number of 1000000 digits"),
    "a fraction of a million digits": (line(b'{"seconds":0.' + b"9" * 1_000_000 + b"}"), "a number of 1000002 digits"),
    "half of a pair": (line(b'{"workload":"\\ud800"}'), "half of a surrogate pair"),
    "no UTF-8": (line(b'{"workload":"\xff"}'), "not UTF-8"),
    "a list": (text(layout.RUN, b"[]"), "must be an object"),
    "a line of five megabytes": (line(b'{"reason":"' + b"x" * (5 << 20) + b'"}'), "more than 4194304 bytes"),
    "a million problems": (line(b'{"outputs":[' + b"1," * 1_000_000 + b"1]}"), "more than 100000 values"),
    "a hundred thousand values of nothing": (line(b'{"outputs":[' + b"[" * 120_000), "more than 100000 values"),
    "more outputs than a cell can have": (cell(outputs=["0" * 64] * 1001), "at most 1000 items"),
    "a capture of lists": (
        text(f"platforms/{'0' * 64}.json", b'{"a":[[' + b"],[" * 500_000 + b"]]}"),
        "platforms/0000.*more than 300000 values",
    ),
    "a capture with letters of its own": (
        text(
            f"platforms/{'0' * 64}.json",
            '{"numdev-capture": 2, "leaves": ["\u00e9\u4e2d\U0001f600 x"], "\u00e9": 1}'.encode(),
        ),
        r"platforms/0000.*\\xe9: unknown key",
    ),
    "a leaf with letters of its own": (
        text(f"platforms/{'0' * 64}.json", '{"numdev-capture": 2, "leaves": ["\u00e9\u4e2d\U0001f600 x"]}'.encode()),
        "is not six 32-bit numbers in hex",
    ),
    "a host whose capture is an output": (
        ran(hosts={"h": {"bundle": "b", "digest": "0" * 64, "capture": "outputs/" + "0" * 64 + ".npy"}}),
        "hosts.h.capture",
    ),
    "a hundred thousand keys": (
        line(b"{" + b",".join(b'"%d":1' % key for key in range(100_000)) + b"}"),
        "more than 20000 keys",
    ),
    "a last line without an end": (lambda p: archive({**p, layout.CELLS: p[layout.CELLS][:-1]}), "has no end"),
    "a fact twice": (
        lambda p: archive({**p, layout.FACTS: p[layout.FACTS].splitlines(True)[0] + p[layout.FACTS]}),
        "stands twice, or not in its order",
    ),
    "aliases that grow": (text(STACK, b"a: &a [x,x]\nb: &b [*a,*a]\n"), "aliases|tags"),
    "tags that construct": (text(STACK, b"a: !!python/object/apply:os.system [id]\n"), "tags"),
    "a megabyte of YAML": (text(STACK, b"- a\n" * (1 << 18)), "too large|more than 65536 bytes"),
    "YAML nested too deeply": (text(STACK, b"a: " + b"[" * 1000), "nested too deeply"),
    "a base that leads out": (
        text(
            STACK, STACK_TEXT := b'base: ../../x\npython: "3.11"\nbackend: onnxruntime\npins: {onnxruntime: "1.32.0"}\n'
        ),
        "stacks/base/../../x.yaml: is missing",
    ),
    "a Dockerfile that leads out": (
        text(STACK, STACK_TEXT + b"dockerfile: ../../Dockerfile\n"),
        "file in the stack's own folder",
    ),
    "a Dockerfile that is not there": (text(STACK, STACK_TEXT + b"dockerfile: Dockerfile\n"), "Dockerfile: is missing"),
    "a lock that goes on and on": (text(LOCK, b"a \\\n" * 500_000), "neither name==version"),
    "a matrix that asks for mounts": (
        ran(source={"numdev": 1, "factors": {"stack": ["ort-1"]}, "workloads": ["own"], "mounts": ["/:/host"]}),
        "mounts.*unknown key|unknown key",
    ),
    "a matrix that asks for the network": (
        ran(source={"numdev": 1, "factors": {"stack": ["ort-1"]}, "workloads": ["own"], "limits": {"network": "host"}}),
        "network.*unknown key|unknown key",
    ),
}

# Arrays, models and inputs ----------------------------------------------------------------------------------------


def npy(header: str, data: bytes = bytes(12), version: bytes = b"\x01\x00") -> bytes:
    raw = header.encode("latin-1")
    raw += b" " * (-(len(raw) + 11) % 64) + b"\n"
    return b"\x93NUMPY" + version + struct.pack("<H", len(raw)) + raw + data


def held(data: bytes):
    return lambda p: archive(swapped(p, data))


def lying_zip(p):
    """A directory that says three gigabytes."""
    data = bytearray(zipped({"x.npy": b"x" * 100}))
    at = data.index(b"PK\x01\x02")
    data[at + 24 : at + 28] = struct.pack("<I", 3 << 30)
    return archive({**p, INPUTS: bytes(data)})


ARRAYS = {
    "objects": (
        held(npy("{'descr': '|O', 'fortran_order': False, 'shape': (3,)}")),
        "not an array of numbers|no array",
    ),
    "pickle": (held(b"\x80\x04cos\nsystem\n."), "is no array"),
    "an absurd shape": (
        held(npy("{'descr': '<f4', 'fortran_order': False, 'shape': (4611686018427387904, 4)}")),
        "not those of its shape",
    ),
    "a negative shape": (held(npy("{'descr': '<f4', 'fortran_order': False, 'shape': (-3, -1)}")), "is no array"),
    "a header that is code": (held(npy("__import__('os').system('id')")), "is no array"),
    "a header of nested brackets": (held(npy("(" * 3000)), "is no array"),
    "a header that is too long": (
        held(npy("{'descr': '<f4', 'fortran_order': False, 'shape': (3,)" + " " * 5000 + "}")),
        "is no array",
    ),
    "a structured type": (
        held(npy("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (3,)}")),
        "not an array of numbers",
    ),
    "a type of a million numbers": (
        held(npy("{'descr': ('<f4', (1000000, 1000000)), 'fortran_order': False, 'shape': (1,)}")),
        "is no array",
    ),
    "a later version of .npy": (held(npy("{}", version=b"\x03\x00")), "not of .npy version"),
    "long doubles": (
        held(npy("{'descr': '<f16', 'fortran_order': False, 'shape': (3,)}", bytes(48))),
        "is of float128. such numbers are not the same on every machine",
    ),
    "complex long doubles": (
        held(npy("{'descr': '<c32', 'fortran_order': False, 'shape': (3,)}", bytes(96))),
        "is of complex256. such numbers are not the same on every machine",
    ),
    "another shape than its signature": (
        held(npy("{'descr': '<f4', 'fortran_order': False, 'shape': (1, 3)}")),
        "has the shape",
    ),
    "another type than its signature": (
        held(npy("{'descr': '<i4', 'fortran_order': False, 'shape': (3,)}")),
        "is of int32",
    ),
    "an output under another's name": (
        lambda p: archive({**p, next(name for name in p if name.startswith("outputs/")): npy("{}")}),
        "not the output that its name is the SHA-256 of",
    ),
    "another model": (text(MODEL, b"\x08\x07" * 1000), "is not the one that the run names"),
    "a model of no workload": (text("workloads/other/model.onnx", b""), "is of no workload"),
    "a bomb of zeros": (
        lying_zip,
        "larger than 2 GiB",
    ),
    "inputs in a way that numpy does not write": (
        lambda p: archive({**p, INPUTS: zipped({"x.npy": bytes(100)}, compression=zipfile.ZIP_LZMA)}),
        "compressed in another way",
    ),
    "inputs that are no arrays": (lambda p: archive({**p, INPUTS: zipped({"../x": b""})}), "no array"),
    "inputs that are no zip": (text(INPUTS, b"PK" + bytes(100)), "is no .npz"),
}

# Forged, and whole by its manifest --------------------------------------------------------------------------------


def set_key(key: str, value):
    return lambda found: found.update({key: value})


def renamed(folder: str, suffix: str):
    def make(p):
        old = next(name for name in p if name.startswith(folder))
        return archive({**without(p, old), f"{folder}{'0' * 64}{suffix}": p[old]})

    return make


def register(p):
    """One register of the processor is another."""
    name = next(name for name in p if name.startswith("platforms/"))
    return archive(changed(p, name, lambda value: value["leaves"].__setitem__(1, flipped(value["leaves"][1]))))


def flipped(leaf: str) -> str:
    words = leaf.split()
    words[2] = f"{int(words[2], 16) ^ 0x10:08x}"
    return " ".join(words)


def shown_another(p):
    name = next(name for name in p if name.startswith("tables/"))
    return archive({**p, name: p[name].replace(b"000306c", b"000406c")})


FORGED = {
    "a status": (cell(5, status="ok", reason=""), "answer.json.*own"),
    "a status that is none": (cell(status="fine"), "is not a status"),
    "a result that is said to be missing": (cell(5, status="missing"), "never run, and has results"),
    "a replicate": (cell(replicate=2), "is not that of its causes, factors and replicate"),
    "a digest": (cell(digest="0" * 64), "is not that of its causes, factors and replicate"),
    "a level": (
        cell(factors={"stack": "ort-2", "profile": "sandybridge"}),
        "same replicate of the same cell|stack is 'ort-2'",
    ),
    "a level that is none": (cell(factors={"stack": "ort-9", "profile": "sandybridge"}), "no level of stack"),
    "a factor that is none": (cell(factors={"stack": "ort-1"}), "does not have the factors"),
    "threads that it did not have": (said(0, "declared", set_key("threads", 4)), "is not that of its causes"),
    "another platform": (said(0, "causes", set_key("platform", "0" * 64)), "is not that of its causes"),
    "another worker": (said(0, "causes", set_key("worker", "0" * 64)), "is not that of its causes"),
    "another name of a fact": (
        lambda p: archive(lined(p, layout.FACTS, 0, lambda value: value.update({"value": {"x": 1}}))),
        "is not the one that it is called by",
    ),
    "a fact of nobody": (
        lambda p: archive({**p, layout.FACTS: p[layout.FACTS] + b'{"fact":"ffffffffffffffff","value":1}\n'}),
        "is of no cell",
    ),
    "a fact that is missing": (cell(causes="0" * 16), "the fact 0000000000000000, is missing"),
    "a version that was read back": (
        said(0, "realised", set_key("versions", {"onnxruntime": "1.31.0"})),
        "its process had onnxruntime '1.31.0'",
    ),
    "a pin of the image": (
        said(0, "environment", lambda value: value["labels"].update({"org.numdev.pin.onnxruntime": "1.31.0"})),
        "onnxruntime was '1.31.0' in its image",
    ),
    "packages of the image": (
        said(0, "environment", lambda value: value["labels"].update({"org.numdev.site": "0" * 64})),
        "its stack's digest is not that of the packages",
    ),
    "a feature of the processor": (
        said(0, "environment", lambda value: value["platform"].update({"stepping": 9})),
        "stepping of its processor is not as in platforms/",
    ),
    "a pin": (
        lambda p: archive({**p, STACK: p[STACK].replace(b"1.32.0", b"1.31.0")}),
        "is locked at 1.32.0, and stacks/ort-1/stack.yaml pins 1.31.0",
    ),
    "a locked version": (
        lambda p: archive({**p, LOCK: p[LOCK].replace(b"1.32.0", b"1.31.0")}),
        "is locked at 1.31.0, and stacks/ort-1/stack.yaml pins 1.32.0",
    ),
    "a base": (
        lambda p: archive({**p, STACK: p[STACK].replace(b"bookworm", b"bullseye")}),
        "bullseye.yaml: is missing",
    ),
    "a register": (register, "its CPUID registers are not those"),
    "a table": (shown_another, "is not the table that its name is the SHA-256 of"),
    "a table under another name": (renamed("tables/", ".txt"), "is missing: cells.jsonl:"),
    "a processor under another name": (renamed("platforms/", ".json"), "its CPUID registers are not those"),
    "no stack": (lambda p: archive(without(p, STACK)), "stack.yaml: is missing"),
    "no lock": (lambda p: archive(without(p, LOCK)), "requirements.lock: is missing"),
    "no output": (
        lambda p: archive(without(p, next(name for name in p if name.startswith("outputs/")))),
        "has no outputs/",
    ),
    "no inputs": (lambda p: archive(without(p, INPUTS)), "inputs.npz: is missing, and nothing says why"),
    "an output of nobody": (
        lambda p: archive({**p, **dict([forging.output(p["workloads/own/model.onnx"])])}),
        "is an output of no cell",
    ),
    "another output, under its own name": (
        lambda p: archive(swapped(p, npy("{'descr': '<f4', 'fortran_order': False, 'shape': (3,)}"))),
        "answer.json.*own",
    ),
    "a number of the answer": (
        lambda p: archive(changed(p, layout.ANSWER, lambda value: value["workloads"][0].update({"runs": 7}))),
        "workload 'own', runs: 7 there",
    ),
    "a class of the answer": (
        lambda p: archive(changed(p, layout.ANSWER, lambda value: value["workloads"][0]["classes"].pop())),
        r"classes \(its classes\): 2 of them there, 3 of them from the outputs",
    ),
    "a sentence of the answer": (
        lambda p: archive({**p, layout.ANSWER_TEXT: p[layout.ANSWER_TEXT] + b"Nothing differs.\n"}),
        "answer.txt: is not what analysis/answer.json says",
    ),
    "no answer": (lambda p: archive(without(p, layout.ANSWER)), "answer.json: is missing"),
    "a workload's model": (
        lambda p: archive(
            changed(p, layout.RUN, lambda value: value["workloads"]["own"]["formats"].update(onnx="0" * 64))
        ),
        "does not have the digest of what it is made of",
    ),
    "a level that stands twice": (
        ran(factors={"stack": ["ort-1", "ort-1", "ort-2"], "profile": ["sandybridge", "haswell", "zen2"]}),
        "a level of stack stands twice",
    ),
    "levels that no cell has the words for": (
        ran(
            factors={"stack": ["ort-1", "ort-2"], "profile": ["a"], "features": [""]},
            order=["stack", "profile", "features"],
        ),
        "does not have the factors|no answer|no level",
    ),
}

ALL = {
    f"{group}: {name}": made
    for group, some in (
        ("archive", ARCHIVES),
        ("manifest", MANIFESTS),
        ("text", TEXTS),
        ("array", ARRAYS),
        ("forged", FORGED),
    )
    for name, made in some.items()
}


def test_the_good_one_is_whole(parts, tmp_path):
    path = tmp_path / "one.bundle.tar"
    path.write_bytes(archive(parts))
    report = verify(path)
    assert report.whole, [check for check in report.checks if check.problems]
    assert len(ALL) >= 40


@pytest.mark.parametrize("name", ALL)
def test_none_gets_through(parts, tmp_path, monkeypatch, name):
    make, word = ALL[name]
    path = tmp_path / "one.bundle.tar"
    path.write_bytes(make(parts))
    monkeypatch.chdir(tmp_path)
    before = seen(tmp_path)
    assert re.search(word, refused(path)), refused(path)
    assert seen(tmp_path) == before


def seen(folder: Path) -> dict[str, tuple[int, int]]:
    return {str(one): (one.stat().st_size, one.stat().st_mtime_ns) for one in sorted(folder.rglob("*"))}


# Bounds -----------------------------------------------------------------------------------------------------------


def bound() -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (60, 60))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))


def bounded(path: Path) -> tuple[int, int, str]:
    """(exit code, megabytes, what it said) of the command in a process that may write no file."""
    return forging.verified(path, preexec_fn=bound)


@pytest.mark.parametrize(
    "name",
    [
        "manifest: millions of empty lines",
        "text: nested a million deep",
        "text: a number of a million digits",
        "text: a million problems",
        "text: a hundred thousand keys",
        "text: a capture of lists",
        "text: a megabyte of YAML",
        "text: a lock that goes on and on",
        "array: a bomb of zeros",
        "array: an absurd shape",
    ],
)
def test_bombs_stay_in_bounds(parts, tmp_path, name):
    path = tmp_path / "one.bundle.tar"
    path.write_bytes(ALL[name][0](parts))
    code, megabytes, said = bounded(path)
    assert code in (3, 15), said
    assert megabytes < 400, said


def test_many_members_stay_in_bounds(parts, tmp_path):
    path = tmp_path / "one.bundle.tar"
    many = {f"outputs/{number:064x}.npy": b"" for number in range(20_000)}
    path.write_bytes(archive({**parts, **many}))
    code, megabytes, said = bounded(path)
    assert code == 15, said
    assert megabytes < 400, said


def rich(parts, cells: int, values: int) -> bytes:
    """A bundle of lines with facts of their own: each of three has so many values."""
    first = json.loads(parts[layout.CELLS].splitlines()[0])
    there = {row["fact"]: row["value"] for row in map(json.loads, parts[layout.FACTS].splitlines())}
    lines, facts = [], dict(there)
    for number in range(cells):
        line = {**first, "digest": f"{number:064x}", "factors": {**first["factors"], "stack": f"s{number}"}}
        for key in ("environment", "realised", "causes"):
            value = {**there[first[key]], "z": [{}] * values, "of": [number, key]}
            line[key] = digests.of_json(value)[:16]
            facts[line[key]] = value
        lines.append(digests.canonical(line))
    rows = [digests.canonical({"fact": name, "value": facts[name]}) for name in sorted(facts)]
    return archive({**parts, layout.CELLS: b"\n".join(lines) + b"\n", layout.FACTS: b"\n".join(rows) + b"\n"})


def test_facts_that_are_large_stay_in_bounds(parts, tmp_path):
    """What lines have in common is kept by its size, and not by how many there are."""
    path = tmp_path / "one.bundle.tar"
    path.write_bytes(rich(parts, 12, 15_000))
    code, megabytes, said = bounded(path)
    assert code == 15, said
    assert megabytes < 300, said


def test_a_crate_of_millions_stays_in_bounds(parts, tmp_path):
    path = tmp_path / "one.bundle.tar"
    head, rest = parts[layout.CRATE].split(b"\n", 1)
    odd = b'{"@id":"#z","@type":"x","y":[' + b"{}," * 3_900_000 + b"{}]},"
    path.write_bytes(archive({**parts, layout.CRATE: head + b"\n" + odd + b"\n" + rest}))
    code, megabytes, said = bounded(path)
    assert code in (3, 15), said
    assert megabytes < 300, said


def seconds(parts, tmp_path) -> float:
    """Of this process, for all of a bundle but its answer."""
    path = tmp_path / "one.bundle.tar"
    path.write_bytes(archive(parts))
    before = time.process_time()
    assert not verify(path, analyse=False).whole
    return time.process_time() - before


def test_a_definition_is_parsed_once_whatever_it_is_for(parts, tmp_path):
    long = STACK_TEXT.replace(b"../../x", b"bookworm") + b"from_pip: [" + b"a," * 31_000 + b"a]\n"
    lock = b"a==1 --hash=sha256:" + b"0" * 64 + b"\n"
    more = {f"stacks/ort-1/requirements.a{number}.lock": lock for number in range(40)}
    # Forty times, it takes half a minute.
    assert seconds({**parts, STACK: long, **more}, tmp_path) < 4


def test_many_stacks_are_looked_at_in_one_go(parts, tmp_path):
    more = {f"stacks/z{number}/x": b"" for number in range(12_000)}
    assert seconds({**parts, **more}, tmp_path) < 4


def test_many_levels_are_not_searched_for_every_line(parts, tmp_path):
    levels = [f"s{number}" for number in range(60_000)]
    first = json.loads(parts[layout.CELLS].splitlines()[0])
    lines = [
        digests.canonical({**first, "replicate": number, "factors": {**first["factors"], "stack": levels[-1]}})
        for number in range(4_000)
    ]
    forged = {**parts, layout.CELLS: b"\n".join(lines) + b"\n"}
    run = {"stack": levels, "profile": ["sandybridge", "haswell", "zen2"]}
    assert seconds(changed(forged, layout.RUN, lambda value: value.update(factors=run)), tmp_path) < 4


def test_a_matrix_is_not_laid_out_further_than_lines_go(parts, tmp_path):
    """A short file can ask for a hundred thousand cells, and leave each out by many rules."""
    matrix = {
        "numdev": 1,
        "factors": {key: [f"{key[0]}{number}" for number in range(300)] for key in ("stack", "profile")},
        "workloads": [{"name": "own", "model": "model.onnx", "inputs": "x.npz"}],
        "exclude": [{"stack": f"s{number % 300}", "profile": "p1"} for number in range(40_000)],
    }
    assert seconds(changed(parts, layout.RUN, lambda value: value.update(source=matrix)), tmp_path) < 4


def test_what_is_no_file_is_not_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path / "link", tmp_path, Path("/dev/zero"), tmp_path / "none", Path("a\0b")):
        with pytest.raises(InvalidInput):
            verify(path)


def test_a_file_of_holes_is_not_read(parts, tmp_path):
    path = tmp_path / "one.bundle.tar"
    path.write_bytes(archive(parts))
    with open(path, "r+b") as file:
        file.truncate(1 << 40)
    assert "mostly holes" in refused(path)
