"""Nothing in a bundle says whose machine made it, however the machine's and the user's names stand in what a run keeps."""

from __future__ import annotations

import getpass
import os
import pwd
import socket
import tarfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from numdev.bundle.create import Options, create
from numdev.bundle.private import Scrubber
from numdev.bundle.reading import Bundle
from numdev.store import Store

USER, HOST = "adalovelace", "engine-room-7"
HOME = f"/export/people/{USER}"
SECRETS = (USER, HOST, "/export/people", "engine-room", "charlesb")


@pytest.fixture
def planted(monkeypatch) -> None:
    """This machine has another name, and its user another name and home."""
    for key in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.setenv(key, USER)
    monkeypatch.setenv("HOME", HOME)
    monkeypatch.setattr(getpass, "getuser", lambda: USER)
    monkeypatch.setattr(socket, "gethostname", lambda: f"{HOST}.lab.example.org")
    entry = pwd.struct_passwd((USER, "x", os.getuid(), 0, "Ada Lovelace,,,", HOME, "/bin/sh"))
    monkeypatch.setattr(pwd, "getpwuid", lambda uid: entry)


def scrubber(keep=()) -> Scrubber:
    return Scrubber.of_this_machine(keep=keep)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (f"{HOME}/x.onnx", "(home)/x.onnx"),
        (f"cannot open '{HOME}/x': no such file", "cannot open '(home)/x': no such file"),
        (f"-I{HOME}/include -L{HOME}", "-I(home)/include -L(home)"),
        (f"file://{HOME}/x", "file://(home)/x"),
        (f"PATH={HOME}/bin:{HOME}/.local/bin:/usr/bin", "PATH=(home)/bin:(home)/.local/bin:/usr/bin"),
        ("/home/charlesb/models/x", "(home)/models/x"),
        ("/home/charlesb", "(home)"),
        ("x=/Users/charlesb/a", "x=(home)/a"),
        (r"C:\Users\charlesb\x.onnx", r"(home)\x.onnx"),
        ("/root/x and /rootfs", "(home)/x and /rootfs"),
        (f"{USER}@{HOST}.lab.example.org", "(user)@(host)"),
        (f"{USER}@{HOST}: down", "(user)@(host): down"),
        (USER.upper(), "(user)"),
        (f"/data/{USER}_models/{USER}.net", "/data/(user)_models/(user).net"),
        ("by Ada Lovelace", "by (user)"),
        (f"/data/{USER}2/x", f"/data/{USER}2/x"),
        (f"{USER}s", f"{USER}s"),
        ("/usr/lib/x86_64-linux-gnu/libm.so.6", "/usr/lib/x86_64-linux-gnu/libm.so.6"),
        ("/opt/numdev/site", "/opt/numdev/site"),
    ],
)
def test_in_a_text(planted, text, found):
    assert scrubber().text(text) == found


def test_short_names_go_from_paths_alone():
    short = Scrubber({"jo": "(user)", "/srv/jo": "(home)"})
    assert short.text("/srv/jo/x, /data/jo/x, jo, major") == "(home)/x, /data/(user)/x, jo, major"


def test_what_the_run_itself_is_called_stays_and_is_said(planted):
    found = scrubber(keep=[f"{USER}-net", "haswell"])
    assert found.text(f"{USER}-net on {HOST}") == f"{USER}-net on (host)"
    assert found.kept == ["(user)"]


def test_of_files_that_lie_elsewhere_the_name_is_told(planted):
    told = {
        "model": "/data/x/net.onnx",
        "inputs": "../../charlesb/x.npz",
        "labels": "labels.txt",
        "images": ["~charlesb/a.png", "b.png"],
        "command": ["/scratch/charlesb/run.sh", "--fast"],
        "module": "/scratch/charlesb/net.py:main",
    }
    found = scrubber().source({"workloads": ["cnn-small", told], "repeats": 3})
    assert found == {
        "workloads": [
            "cnn-small",
            {
                "model": "(folder)/net.onnx",
                "inputs": "(folder)/x.npz",
                "labels": "labels.txt",
                "images": ["(folder)/a.png", "b.png"],
                "command": ["(folder)/run.sh", "--fast"],
                "module": "(folder)/net.py:main",
            },
        ],
        "repeats": 3,
    }


@given(before=st.text(max_size=20), after=st.text(max_size=20))
def test_no_home_survives_in_whatever_it_stands(before, after):
    assert "/home/charlesb" not in Scrubber({}).text(f"{before}/home/charlesb/{after}")


def test_a_whole_bundle_names_nobody(planted, store, tmp_path):
    _plant(store)
    out = tmp_path / "m.bundle.tar"
    made = create(Store.open(store.folder), "m", out, tmp_path / "cache", Options())
    data = out.read_bytes().lower()
    for secret in (*SECRETS, str(tmp_path)):
        assert secret.lower().encode() not in data, secret
    assert {"(home)", "(user)", "(host)"} <= set(made.left_out)
    with Bundle(out) as bundle:
        assert "(home)/secret.onnx" in next(cell.reason for cell in bundle.cells() if cell.status == "failed")


def _plant(store: Store) -> None:
    """Names everything in all that a store keeps of a run."""
    run = store.run("m")
    run["source"]["workloads"] = [
        {"name": "own", "model": f"{HOME}/model.onnx", "inputs": "/home/charlesb/x.npz", "files": ["../charlesb/a.py"]}
    ]
    run["engine"] = {"engine": "local", "where": f"{HOST}:{HOME}", HOST: USER}
    stack = f"# {USER}'s, from {HOME}\nbase: bookworm\npython: '3.11'\nbackend: onnxruntime\npins: {{onnxruntime: '1.32.0'}}\n"
    run["materials"]["stacks/ort-1/stack.yaml"] = store.put_file(stack.encode())
    dump = f"00000000: {USER} {HOST}".encode()
    name = store.put_file(dump)
    run["materials"][f"profiles/{name}.txt"] = name
    store.write_run("m", run)
    for cell in run["cells"]:
        if not store.has(cell["digest"]):
            continue
        record = store.record(cell["digest"])
        failed = record.status == "failed"
        store.put(
            record.model_copy(
                update={
                    "digest": record.digest,
                    "reason": f"{HOST} could not read {HOME}/secret.onnx" if failed else "",
                    "realised": {**record.realised, "path": f"{HOME}/lib/libopenblas.so", "by": [USER, {HOST: 1}]},
                    "environment": {**record.environment, "python": f"{HOME}/python", "host": HOST.upper()},
                }
            )
        )


def test_what_is_named_by_its_digest_is_not_changed(planted, store, tmp_path):
    _plant(store)
    out = tmp_path / "m.bundle.tar"
    made = create(Store.open(store.folder), "m", out, tmp_path / "cache", Options())
    with tarfile.open(out) as archive:
        names = {Path(name).relative_to("m").as_posix() for name in archive.getnames()}
    (dump,) = (name for name in made.left_out if name.startswith("profiles/"))
    assert dump not in names
    assert "stacks/ort-1/stack.yaml" in names
    assert "stacks/ort-1/stack.yaml as it was" in made.left_out
