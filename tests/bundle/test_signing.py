"""A signature says whose a bundle is; any other key, bundle or envelope is refused with a word."""

from __future__ import annotations

import base64
import json
import runpy
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from numdev import digests
from numdev.bundle import signing
from numdev.bundle.verify import Signature, verify
from numdev.errors import InvalidInput, NumdevError

forging = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("forging.py"))))
PRIVATE = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8)
PUBLIC = (serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def keys(folder: Path, name: str, key=None, password: bytes = b"") -> tuple[Path, Path]:
    """Files of a private and a public key."""
    key = key or ed25519.Ed25519PrivateKey.generate()
    hidden = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    private, public = folder / f"{name}.pem", folder / f"{name}.pub.pem"
    private.write_bytes(key.private_bytes(*PRIVATE, hidden))
    public.write_bytes(key.public_key().public_bytes(*PUBLIC))
    return private, public


@pytest.fixture
def signed(bundled, tmp_path):
    """(bundle, envelope, private key, public key)"""
    path, (private, public) = bundled(), keys(tmp_path, "mine")
    signing.sign(path, private, tmp_path / "one.sig")
    return path, tmp_path / "one.sig", private, public


def looked(path: Path, envelope: bytes, public: Path):
    report = verify(path, signature=Signature(envelope, "one.sig", public))
    return report, "\n".join(problem.what for problem in report.checks[0].problems)


def test_signed_by_its_key(signed):
    path, envelope, _, public = signed
    report, said = looked(path, envelope.read_bytes(), public)
    assert (report.whole, said) == (True, "")
    key = serialization.load_pem_public_key(public.read_bytes())
    assert report.signed == signing.key_name(key)


def test_it_is_a_statement_about_file_and_digest(signed):
    path, envelope, private, _ = signed
    value = json.loads(envelope.read_bytes())
    payload = base64.b64decode(value["payload"])
    key = serialization.load_pem_private_key(private.read_bytes(), None)
    text = b"DSSEv1 28 application/vnd.in-toto+json %d %s" % (len(payload), payload)
    assert base64.b64decode(value["signatures"][0]["sig"]) == key.sign(text)
    statement = json.loads(payload)
    assert statement["_type"] == "https://in-toto.io/Statement/v1"
    assert {one["name"]: one["digest"]["sha256"] for one in statement["subject"]} == {
        "SHA256SUMS": verify(path).digest,
        "one.bundle.tar": digests.of_file(path),
    }


def test_another_key(signed, tmp_path):
    path, envelope, *_ = signed
    report, said = looked(path, envelope.read_bytes(), keys(tmp_path, "other")[1])
    assert "not signed with this key" in said
    assert (report.code, report.signed) == (15, "")


def test_another_bundle(signed, bundled):
    _, envelope, _, public = signed
    report, said = looked(bundled("two", shift=1.0), envelope.read_bytes(), public)
    assert "of another bundle" in said
    assert report.code == 15


def test_the_same_members_in_another_folder(signed):
    """The manifest is the same, and the file is not."""
    path, envelope, _, public = signed
    path.write_bytes(forging.archive(forging.parts_of(path), folder="two"))
    assert "is of another file" in looked(path, envelope.read_bytes(), public)[1]


@pytest.mark.parametrize("part", ["payload", "sig"])
def test_a_changed_envelope(signed, part):
    path, envelope, _, public = signed
    value = json.loads(envelope.read_bytes())
    where = value if part == "payload" else value["signatures"][0]
    data = bytearray(base64.b64decode(where[part]))
    data[20] ^= 1
    where[part] = base64.b64encode(data).decode()
    assert "not signed with this key, or was changed" in looked(path, json.dumps(value).encode(), public)[1]


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (lambda value: value.update(payloadType="text/plain"), "its payload is"),
        (lambda value: value.update(signatures=[]), "signatures"),
        (lambda value: value.update(signatures=[{}] * 17), "signatures"),
        (lambda value: value.update(signatures=[{"sig": "?"}]), "base64"),
        (lambda value: value.update(payload=None), "base64"),
    ],
)
def test_no_envelope(signed, change, word):
    path, envelope, _, public = signed
    value = json.loads(envelope.read_bytes())
    change(value)
    with pytest.raises(InvalidInput, match=word):
        looked(path, json.dumps(value).encode(), public)


@pytest.mark.parametrize(
    "statement",
    [
        b"[]",
        b"{}",
        b'{"_type":"https://in-toto.io/Statement/v1","predicateType":"https://numdev.org/bundle/v1"}',
        b'{"_type":"https://in-toto.io/Statement/v1","predicateType":"https://numdev.org/bundle/v1","subject":[1]}',
    ],
)
def test_the_right_key_under_another_statement(signed, statement):
    path, _, private, public = signed
    key = serialization.load_pem_private_key(private.read_bytes(), None)
    sig = base64.b64encode(key.sign(signing.encoded(signing.PAYLOAD, statement))).decode()
    envelope = {
        "payload": base64.b64encode(statement).decode(),
        "payloadType": signing.PAYLOAD,
        "signatures": [{"keyid": "", "sig": sig}],
    }
    report, said = looked(path, json.dumps(envelope).encode(), public)
    assert said
    assert report.code == 15


def test_keys_that_are_none(signed, tmp_path):
    path, envelope, private, public = signed
    other, other_public = keys(tmp_path, "ec", ec.generate_private_key(ec.SECP256R1()))
    hidden, _ = keys(tmp_path, "hidden", password=b"x")
    empty = tmp_path / "empty.pem"
    empty.write_bytes(b"")
    for key in (public, other, hidden, empty, tmp_path / "none.pem"):
        with pytest.raises(InvalidInput, match="cannot be"):
            signing.sign(path, key, tmp_path / "new.sig")
    for key in (private, other_public, empty):
        with pytest.raises(InvalidInput, match="cannot be used as a key"):
            looked(path, envelope.read_bytes(), key)
    assert not (tmp_path / "new.sig").exists()


def test_without_the_package(signed, monkeypatch):
    path, envelope, private, public = signed
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives", None)
    with pytest.raises(NumdevError, match=r"numdev\[sign\]"):
        signing.sign(path, private, envelope)
    with pytest.raises(NumdevError, match=r"numdev\[sign\]"):
        looked(path, envelope.read_bytes(), public)
    assert verify(path).whole
