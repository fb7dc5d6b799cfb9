"""A signature of a bundle, in a file of its own: a DSSE envelope around an in-toto Statement, with Ed25519.

What is signed is the bundle's digest, which is that of its manifest and so of every file in it, and the SHA-256 of the file itself.
"""

from __future__ import annotations

import base64
import binascii
from pathlib import Path
from typing import Any

from numdev import digests, files
from numdev.bundle import layout, strict
from numdev.bundle.found import Check, plain
from numdev.bundle.reading import Bundle
from numdev.errors import BundleFailed, InvalidInput, NumdevError, Problem

SUFFIX = ".sig"
PAYLOAD = "application/vnd.in-toto+json"
STATEMENT = "https://in-toto.io/Statement/v1"
# A name, not an address.
PREDICATE = "https://numdev.org/bundle/v1"
_KEY_LIMIT, ENVELOPE, _SIGNATURES = 64 << 10, 1 << 20, 16


def sign(path: Path, key: Path, out: Path) -> str:
    """Writes the envelope for the bundle at `path` to `out`; returns the key's name.

    Raises:
        InvalidInput: there is no bundle, or `key` is no private key.
        NumdevError: `cryptography` is not installed.
    """
    private = _private(key)
    with Bundle(path) as bundle:
        described = bundle.description
        statement = {
            "_type": STATEMENT,
            "subject": [
                {"name": layout.SUMS, "digest": {"sha256": bundle.digest}},
                {"name": path.name, "digest": {"sha256": digests.of_pieces(bundle.whole())}},
            ],
            "predicateType": PREDICATE,
            "predicate": {"name": described.name, "run": described.run, "date": described.date},
        }
    payload = digests.canonical(statement)
    name = key_name(private.public_key())
    signature = {"keyid": name, "sig": _encoded(private.sign(encoded(PAYLOAD, payload)))}
    files.write_json(out, {"payload": _encoded(payload), "payloadType": PAYLOAD, "signatures": [signature]})
    return name


def check_signature(bundle: Bundle, envelope: bytes, where: str, key: Path) -> tuple[Check, str]:
    """Whether `key` signed this bundle, and the key's name.

    Raises:
        InvalidInput: `envelope` is none, or `key` is no public key.
        NumdevError: `cryptography` is not installed.
    """
    public = _public(key)
    name = key_name(public)
    check = Check("signature", f"Ed25519, of the key {name[:16]}")
    try:
        payload = signed(envelope, where, public)
        _same(bundle, statement_of(payload, where))
    except BundleFailed as error:
        for problem in error.problems:
            check.wrong(problem.where, problem.what)
    return check, name


def signed(envelope: bytes, where: str, public: Any) -> bytes:
    """The payload of an envelope that `public` signed; it is parsed no further before that is known."""
    from cryptography.exceptions import InvalidSignature

    payload, signatures = envelope_of(envelope, where)
    for signature in signatures:
        try:
            public.verify(signature, encoded(PAYLOAD, payload))
            return payload
        except InvalidSignature:
            continue
    raise BundleFailed(f"{where} is not signed.", [Problem(where, "is not signed with this key, or was changed since")])


def envelope_of(data: bytes, where: str) -> tuple[bytes, list[bytes]]:
    """(payload, signatures) of a DSSE envelope."""

    def wrong(what: str) -> InvalidInput:
        return InvalidInput(f"{where} is no signature of a bundle.", [Problem(where, what)])

    if len(data) > ENVELOPE:
        raise wrong(f"more than {ENVELOPE} bytes")
    value = strict.parsed(data, where)
    kind, rows = value.get("payloadType"), value.get("signatures")
    if kind != PAYLOAD:
        raise wrong(f"its payload is {ascii(kind)[:60]}, not {PAYLOAD}")
    if not isinstance(rows, list) or not 1 <= len(rows) <= _SIGNATURES:
        raise wrong(f"has not from 1 to {_SIGNATURES} signatures")
    found = []
    for text in (value.get("payload"), *(row.get("sig") if isinstance(row, dict) else None for row in rows)):
        try:
            found.append(base64.b64decode(text.encode("ascii"), validate=True))
        except (AttributeError, ValueError, binascii.Error):
            raise wrong("its payload or a signature is not base64") from None
    return found[0], found[1:]


def statement_of(payload: bytes, where: str) -> dict[str, str]:
    """SHA-256 by name, of an in-toto Statement about a bundle."""

    def wrong(what: str) -> BundleFailed:
        return BundleFailed(f"{where} says nothing of a bundle.", [Problem(where, what)])

    try:
        value = strict.parsed(payload, where)
    except InvalidInput as error:
        raise wrong(f"what it signs is not JSON: {plain(str(error.problems[0].what))}") from None
    if value.get("_type") != STATEMENT or value.get("predicateType") != PREDICATE:
        raise wrong("what it signs is no statement about a bundle")
    subjects = value.get("subject")
    found: dict[str, str] = {}
    for one in subjects if isinstance(subjects, list) else []:
        digest = one.get("digest") if isinstance(one, dict) else None
        sha256 = digest.get("sha256") if isinstance(digest, dict) else None
        if not isinstance(one, dict) or not isinstance(one.get("name"), str) or not isinstance(sha256, str):
            raise wrong("one of its subjects has no name or no SHA-256")
        if one["name"] in found:
            raise wrong("one of its subjects stands twice")
        found[one["name"]] = sha256
    if layout.SUMS not in found or len(found) != 2:
        raise wrong(f"its subjects are not {layout.SUMS} and the bundle's file")
    return found


def _same(bundle: Bundle, subjects: dict[str, str]) -> None:
    what = ""
    if subjects.pop(layout.SUMS) != bundle.digest:
        what = "is of another bundle: the digest that it signs is not this one's"
    elif next(iter(subjects.values())) != digests.of_pieces(bundle.whole()):
        what = "is of another file: its SHA-256 is not the one that was signed"
    if what:
        raise BundleFailed(
            f"{bundle.where} is not the bundle that was signed.", [Problem(bundle.where, f"the signature {what}")]
        )


def encoded(kind: str, payload: bytes) -> bytes:
    """DSSE's pre-authentication encoding: what is signed."""
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind.encode("ascii"), len(payload), payload)


def _encoded(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def key_name(public: Any) -> str:
    """The SHA-256 of a public key, as SubjectPublicKeyInfo in DER."""
    from cryptography.hazmat.primitives import serialization

    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return digests.of_bytes(public.public_bytes(serialization.Encoding.DER, form))


def _private(path: Path) -> Any:
    loaders, kinds = _cryptography()
    key = _loaded(
        path, lambda data: loaders.load_pem_private_key(data, None), "a private key in PEM, without a password"
    )
    if not isinstance(key, kinds.Ed25519PrivateKey):
        raise _no_key(path, "is a key of another kind than Ed25519")
    return key


def _public(path: Path) -> Any:
    loaders, kinds = _cryptography()
    key = _loaded(path, loaders.load_pem_public_key, "a public key in PEM")
    if not isinstance(key, kinds.Ed25519PublicKey):
        raise _no_key(path, "is a key of another kind than Ed25519")
    return key


def _loaded(path: Path, load: Any, what: str) -> Any:
    from cryptography.exceptions import UnsupportedAlgorithm

    data = files.read_bytes(path, _KEY_LIMIT)
    try:
        return load(data)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise _no_key(path, f"is not {what}") from None


def _no_key(path: Path, what: str) -> InvalidInput:
    remedy = "openssl genpkey -algorithm ed25519 -out key.pem; openssl pkey -in key.pem -pubout -out pub.pem"
    return InvalidInput(f"{path} cannot be used as a key.", [Problem(str(path), what, remedy)])


def _cryptography() -> tuple[Any, Any]:
    try:
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import ed25519
    except ImportError:
        raise NumdevError(
            "Signatures need the package cryptography.",
            "it is not installed: bundles are made and verified without it",
            "pip install 'numdev[sign]'",
        ) from None
    return serialization, ed25519
