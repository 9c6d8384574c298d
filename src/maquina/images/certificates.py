"""The certificate authorities a guest trusts, laid out as update-ca-certificates(8) does.

OpenSSL finds an authority in /etc/ssl/certs by a hash of its name (X509_NAME_hash(3)): SHA-1 over
the name in DER with every string as UTF-8, in lower case, blanks squeezed; the first four bytes,
little-endian. That and a file with all of them is all there is to make.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator

from maquina.errors import FormatError
from maquina.storage.layers.writer import LayerWriter

CERTIFICATES = "/usr/share/ca-certificates/"
_PEM = re.compile(rb"-----BEGIN CERTIFICATE-----(.+?)-----END CERTIFICATE-----", re.DOTALL)
_SEQUENCE, _SET, _UTF8, _VERSION = 0x30, 0x31, 0x0C, 0xA0
_ENCODINGS = {_UTF8: "utf-8", 0x13: "ascii", 0x14: "latin-1", 0x16: "ascii", 0x1E: "utf-16-be"}


def write_certificates(writer: LayerWriter, kept: dict[str, bytes]) -> None:
    """Links for each authority, the bundle, and the list of those that are enabled."""
    paths = sorted(path for path in kept if path.startswith(CERTIFICATES))
    if not paths:
        return
    writer.directory("etc/ssl/certs", 0o755)
    used: set[str] = set()
    for path in paths:
        link = path.rpartition("/")[2].removesuffix(".crt") + ".pem"
        writer.symlink(f"etc/ssl/certs/{link}", path)
        writer.symlink(f"etc/ssl/certs/{_hash_link(kept[path], used)}", link)
    bundle = b"".join(kept[path].rstrip() + b"\n" for path in paths)
    writer.file("etc/ssl/certs/ca-certificates.crt", bundle, 0o644)
    names = "".join(f"{path.removeprefix(CERTIFICATES)}\n" for path in paths)
    writer.file("etc/ca-certificates.conf", names.encode(), 0o644)


def subject_hash(pem: bytes) -> str:
    """The hash OpenSSL looks a certificate's subject up by. FormatError if it is none."""
    match = _PEM.search(pem)
    if match is None:
        raise FormatError("a certificate of the package ca-certificates is not in PEM form")
    (_, certificate), *_ = _elements(base64.b64decode(match[1]))
    (_, body), *_ = _elements(certificate)
    parts = [part for part in _elements(body) if part[0] != _VERSION]
    subject = parts[4][1]  # serial, algorithm, issuer, validity, subject (RFC 5280 4.1)
    canonical = b"".join(_canonical_set(attributes) for _, attributes in _elements(subject))
    digest = hashlib.sha1(canonical, usedforsecurity=False).digest()
    return f"{int.from_bytes(digest[:4], 'little'):08x}"


def _hash_link(pem: bytes, used: set[str]) -> str:
    name, number = subject_hash(pem), 0
    while f"{name}.{number}" in used:
        number += 1
    used.add(f"{name}.{number}")
    return f"{name}.{number}"


def _elements(der: bytes) -> Iterator[tuple[int, bytes]]:
    """The tags and contents of what follows one another in DER (X.690 8.1)."""
    at = 0
    while at + 2 <= len(der):
        tag, length, at = der[at], der[at + 1], at + 2
        if length & 0x80:
            count = length & 0x7F
            length, at = int.from_bytes(der[at : at + count], "big"), at + count
        yield tag, der[at : at + length]
        at += length


def _canonical_set(attributes: bytes) -> bytes:
    members = []
    for _, attribute in _elements(attributes):
        (kind, oid), (tag, value) = _elements(attribute)
        if tag in _ENCODINGS:
            text = " ".join(value.decode(_ENCODINGS[tag], errors="replace").split())
            tag, value = _UTF8, _lower_ascii(text).encode()
        members.append(_element(_SEQUENCE, _element(kind, oid) + _element(tag, value)))
    return _element(_SET, b"".join(sorted(members)))


def _lower_ascii(text: str) -> str:
    """OpenSSL lowers ASCII letters alone."""
    return "".join(c.lower() if c.isascii() else c for c in text)


def _element(tag: int, contents: bytes) -> bytes:
    size = len(contents)
    if size < 0x80:
        return bytes((tag, size)) + contents
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(length))) + length + contents
