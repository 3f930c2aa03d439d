"""Ed25519 signatures over canonical JSON: who changes a byte of a signed document is found out.

A signed document is a file of one line: {"content": …, "key": …, "signature": …}, in canonical
form: keys sorted, no blanks, UTF-8, numbers whole. The signature is of the content's canonical
bytes. A file whose bytes are not the canonical ones of what it says counts as changed.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from pumpwatch.errors import BundleError

KEY_FILE = "secrets/listing_key"
PUBLIC_KEY_FILE = "secrets/listing_key.pub"
KEY_HEX = re.compile(r"[0-9a-f]{64}")
SIGNATURE_HEX = re.compile(r"[0-9a-f]{128}")


def canonical(document: object) -> bytes:
    """The one form of a document. Raises TypeError for a float: two machines may write it apart."""
    _refuse_floats(document)
    return msgspec.json.encode(document, order="sorted")


def _refuse_floats(value: object) -> None:
    if isinstance(value, float):
        raise TypeError(f"{value!r}: a canonical document holds whole numbers and texts only")
    if isinstance(value, dict):
        for one in value.values():
            _refuse_floats(one)
    elif isinstance(value, list | tuple):
        for one in value:
            _refuse_floats(one)


class Signer:
    """The key of one installation."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key
        self.public_hex = key.public_key().public_bytes_raw().hex()

    def sign(self, content: object) -> bytes:
        """A signed document, as it stands in its file."""
        plain = msgspec.to_builtins(content)
        signature = self._key.sign(canonical(plain)).hex()
        return canonical({"content": plain, "key": self.public_hex, "signature": signature}) + b"\n"


def read_signed(data: bytes, what: str, *, key_hex: str = "") -> dict[str, Any]:
    """The content of a signed document. Raises BundleError: damaged, or another key's.

    ``key_hex``: the key that must have signed; empty: any.
    """
    try:
        document = msgspec.json.decode(data, type=dict[str, Any])
        content, key, signature = document["content"], document["key"], document["signature"]
        whole = canonical({"content": content, "key": key, "signature": signature}) + b"\n"
    except (msgspec.DecodeError, UnicodeDecodeError, KeyError, TypeError) as error:
        raise BundleError(f"{what}: no signed document: {error}") from None
    if whole != data:
        raise BundleError(f"{what}: its bytes are not those that were signed")
    if not (_is_hex(KEY_HEX, key) and _is_hex(SIGNATURE_HEX, signature)):
        raise BundleError(f"{what}: its key or signature is none")
    if key_hex and key != key_hex:
        raise BundleError(f"{what}: signed with key {key}, not with {key_hex}")
    try:
        Ed25519PublicKey.from_public_bytes(bytes.fromhex(key)).verify(
            bytes.fromhex(signature), canonical(content)
        )
    except (InvalidSignature, ValueError):
        raise BundleError(f"{what}: the signature is not of this content") from None
    if not isinstance(content, dict):
        raise BundleError(f"{what}: no document, but a {type(content).__name__}")
    return {"content": content, "key": key}


def _is_hex(pattern: re.Pattern[str], value: object) -> bool:
    return isinstance(value, str) and pattern.fullmatch(value) is not None


def load_signer(data_dir: Path) -> Signer:
    """The key of this data_dir, made when missing, readable by its owner only. Blocking.

    Raises BundleError where a file is there that holds no key: it is never replaced.
    """
    path = data_dir / KEY_FILE
    try:
        text = path.read_text(encoding="ascii").strip()
    except FileNotFoundError:
        return _make_signer(data_dir)
    except (OSError, UnicodeDecodeError) as error:
        raise BundleError(f"{path}: the listings' key cannot be read: {error}") from None
    if KEY_HEX.fullmatch(text) is None:
        raise BundleError(f"{path}: holds no key; put the old file back, or move it away")
    return Signer(Ed25519PrivateKey.from_private_bytes(bytes.fromhex(text)))


def _make_signer(data_dir: Path) -> Signer:
    key = Ed25519PrivateKey.generate()
    signer = Signer(key)
    _write_new(data_dir / KEY_FILE, key.private_bytes_raw().hex(), 0o600)
    _write_new(data_dir / PUBLIC_KEY_FILE, signer.public_hex, 0o644)
    return signer


def _write_new(path: Path, text: str, mode: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with open(descriptor, "w", encoding="ascii") as file:
        file.write(text + "\n")
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
