"""A Debian archive of a few tiny packages, signed with a key of its own, served on loopback."""

from __future__ import annotations

import hashlib
import io
import lzma
import struct
import tarfile
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pysequoia

ARCHITECTURE = "riscv64"


def tar_of(members: dict[str, Any], compress: str = "xz") -> bytes:
    """A tar of paths: bytes are files, strings symlinks, integers directories of that mode."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for path, what in members.items():
            info = tarfile.TarInfo(f"./{path}")
            if isinstance(what, tarfile.TarInfo):
                what.name = f"./{path}"
                tar.addfile(what)
                continue
            if isinstance(what, int):
                info.type, info.mode = tarfile.DIRTYPE, what
            elif isinstance(what, str):
                info.type, info.linkname = tarfile.SYMTYPE, what
            else:
                info.size, info.mode = len(what), 0o755 if "bin/" in path else 0o644
            tar.addfile(info, io.BytesIO(what) if isinstance(what, bytes) else None)
    data = out.getvalue()
    return lzma.compress(data, preset=0) if compress == "xz" else data


def deb_of(control: dict[str, bytes], data: dict[str, Any], compress: str = "xz") -> bytes:
    """A package file of control files and members."""
    suffix = f".{compress}" if compress else ""
    parts = {
        "debian-binary": b"2.0\n",
        f"control.tar{suffix}": tar_of(control, compress),
        f"data.tar{suffix}": tar_of(data, compress),
    }
    out = b"!<arch>\n"
    for name, body in parts.items():
        out += f"{name:<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(body):<10}`\n".encode()
        out += body + b"\n" * (len(body) % 2)
    return out


def module_of(depends: str, with_signature: bool = True) -> bytes:
    """A relocatable ELF file as small as the kernel's modules are built."""
    names = b"\0.text\0.rela.text\0.modinfo\0.BTF\0.symtab\0.strtab\0.shstrtab\0"
    strings = b"\0.L1\0.L2\0init_module\0printk\0"
    symbols = [
        (0, 0, 0, 0, 0, 0),
        (1, 0, 0, 1, 0, 0),  # .L1: a local label that nothing refers to
        (5, 0, 0, 1, 4, 0),  # .L2: one that a relocation refers to
        (9, 0x12, 0, 1, 0, 8),  # init_module, global, a function of .text
        (21, 0x10, 0, 0, 0, 0),  # printk, global, undefined
    ]
    relocations = [(0, 2 << 32 | 18, 7), (4, 4 << 32 | 19, 0)]
    bodies = {
        ".text": (1, 6, b"\x13\0\0\0" * 4, 0, 0, 4, 0),
        ".rela.text": (4, 0x40, _packed("<QQq", relocations), 5, 1, 8, 24),
        ".modinfo": (1, 2, b"license=GPL\0depends=" + depends.encode() + b"\0", 0, 0, 1, 0),
        ".BTF": (1, 0, bytes(1000), 0, 0, 1, 0),
        ".symtab": (2, 0, _packed("<IBBHQQ", symbols), 6, 3, 8, 24),
        ".strtab": (3, 0, strings, 0, 0, 1, 0),
        ".shstrtab": (3, 0, names, 0, 0, 1, 0),
    }  # fmt: skip
    out, table = bytearray(64), [bytes(64)]
    for name, (kind, flags, body, link, info, align, entry) in bodies.items():
        out += bytes(-len(out) % align)
        at = names.index(name.encode() + b"\0")
        header = (at, kind, flags, 0, len(out), len(body), link, info, align, entry)
        table.append(struct.pack("<IIQQQQIIQQ", *header))
        out += body
    out += bytes(-len(out) % 8)
    head = struct.pack("<16sHHIQQQIHHHHHH", b"\x7fELF\x02\x01\x01", 1, 243, 1, 0, 0, len(out),
                       0, 64, 0, 0, 64, len(table), len(table) - 1)  # fmt: skip
    out[:64] = head
    elf = bytes(out) + b"".join(table)
    signature = bytes(300)
    tail = struct.pack(">8xI", len(signature)) + b"~Module signature appended~\n"
    return elf + signature + tail if with_signature else elf


def _packed(layout: str, records: Sequence[tuple[int, ...]]) -> bytes:
    return b"".join(struct.pack(layout, *record) for record in records)


@dataclass
class FakePackage:
    """A package: fields of its control file, its files, and its maintainer scripts."""

    name: str
    version: str = "1.0"
    fields: dict[str, str] = field(default_factory=dict)
    files: dict[str, Any] = field(default_factory=dict)
    scripts: dict[str, bytes] = field(default_factory=dict)

    def control(self) -> str:
        head = {"Package": self.name, "Version": self.version, "Architecture": ARCHITECTURE}
        more = {"Maintainer": "Nobody <nobody@example.org>", "Description": "a test"}
        return "".join(
            f"{key}: {value}\n" for key, value in {**head, **self.fields, **more}.items()
        )

    def deb(self) -> bytes:
        return deb_of({"control": self.control().encode(), **self.scripts}, self.files)


KERNEL = "7.2.1+test-riscv64"
_MODULES = f"usr/lib/modules/{KERNEL}/kernel"


def small_debian() -> list[FakePackage]:
    """Just enough for a default system, with the traits of the real one that matter."""
    required = {"Essential": "yes", "Priority": "required"}
    masters = "usr/share/base-passwd"
    return [
        FakePackage("base-files", "13", {**required, "Pre-Depends": "awk"}, {
            "bin": "usr/bin", "sbin": "usr/sbin", "lib": "usr/lib", "usr/bin": 0o755,
            "root": 0o700, "tmp": 0o1777, "var/lib/dpkg": 0o755, "var/run": 0o755,
            "usr/share/base-files/profile": b"# profile\n", "etc/debian_version": b"13\n",
        }, {"postinst": b"#!/bin/sh\n", "conffiles": b"/etc/debian_version\n"}),
        FakePackage("base-passwd", "3", required, {
            f"{masters}/passwd.master": b"root:*:0:0:root:/root:/bin/bash\n",
            f"{masters}/group.master": b"root:*:0:\nshadow:*:42:\n",
        }, {"postinst": b"#!/bin/sh\n"}),
        FakePackage("gawk", "5", {"Priority": "optional", "Provides": "awk"}),
        FakePackage("mawk", "1.3", {"Priority": "required", "Provides": "awk"}, {
            "usr/bin/mawk": b"mawk",
        }, {"postinst": b"update-alternatives --install /usr/bin/awk awk /usr/bin/mawk 5 \\\n"
                        b"  --slave /usr/bin/nawk nawk /usr/bin/mawk\n"}),
        FakePackage("dash", "0.5", required, {"usr/bin/dash": b"dash", "usr/bin/sh": "dash"}),
        FakePackage("libc-bin", "2.41", required, {}, {"triggers": b"interest-await ldconfig\n"}),
        FakePackage("libc6", "2.41", {"Multi-Arch": "same"}, {"lib/libc.so.6": b"libc"}),
        FakePackage("apt", "3.0", {"Depends": "libc6 (>= 2.36), base-passwd"}),
        FakePackage("python3", "3.13", {"Depends": "libc6"}, {"usr/bin/python3": b"python"}),
        FakePackage("ca-certificates", "20250419", {}),
        FakePackage("iproute2", "6.1", {}, {"bin/ip": b"ip"}),
        FakePackage("busybox-static", "1:1.37", {}, {"usr/bin/busybox": b"static busybox"}),
        FakePackage("hello", "2.10", {"Depends": "libc6 (>= 2.34)"}, {"usr/bin/hello": b"hello"},
                    {"postinst": b"#!/bin/sh\nexit 0\n"}),
        FakePackage("needs-new", "1", {"Depends": "libc6 (>= 9)"}),
        FakePackage("rival", "1", {"Conflicts": "hello"}),
        FakePackage(f"linux-binary-{KERNEL}", "7.2.1-1", {}, {
            f"usr/lib/modules/{KERNEL}/vmlinuz": b"MZ kernel",
        }),
        FakePackage(f"linux-modules-{KERNEL}", "7.2.1-1", {}, {
            f"{_MODULES}/net/failover.ko.xz": lzma.compress(module_of("")),
            f"{_MODULES}/drivers/net/net_failover.ko.xz": lzma.compress(module_of("failover")),
            f"{_MODULES}/drivers/net/virtio_net.ko.xz": lzma.compress(module_of("net_failover")),
            f"{_MODULES}/drivers/virtio_blk.ko.xz": lzma.compress(module_of("")),
            f"{_MODULES}/fs/ext4.ko.xz": lzma.compress(module_of("jbd2,mbcache")),
            f"{_MODULES}/fs/jbd2.ko.xz": lzma.compress(module_of("")),
            f"{_MODULES}/fs/mbcache.ko.xz": lzma.compress(module_of("")),
        }),
    ]  # fmt: skip


class FakeMirror:
    """The archive. `files` are what it serves, by path; `requests` what it was asked for.

    `cuts` are paths whose first answer breaks off half-way.
    """

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.requests: list[tuple[str, str]] = []
        self.cuts: set[str] = set()
        self.key = pysequoia.Tsk.generate("Archive <archive@example.org>")
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, self))
        self._server.daemon_threads = False
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}/debian"

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def publish(
        self,
        suite: str,
        packages: list[FakePackage],
        *,
        architecture: str = ARCHITECTURE,
        codename: str | None = None,
        more: str = "",
        signer: Any = None,
    ) -> None:
        """Make a suite of packages, signed by the archive's key or another one."""
        stanzas = []
        for package in packages:
            deb = package.deb()
            path = f"pool/{package.name}_{package.version}.deb"
            self.files[path] = deb
            stanzas.append(
                f"{package.control()}Filename: {path}\nSize: {len(deb)}\n"
                f"SHA256: {hashlib.sha256(deb).hexdigest()}\n"
            )
        index = lzma.compress("\n".join(stanzas).encode(), preset=0)
        path = f"main/binary-{architecture}/Packages.xz"
        self.files[f"dists/{suite}/{path}"] = index
        release = (
            f"Origin: Debian\nSuite: {suite}\nCodename: {codename or suite}\n{more}"
            f"SHA256:\n {hashlib.sha256(index).hexdigest()} {len(index)} {path}\n"
        )
        signed = pysequoia.sign(
            (signer or self.key).signer(), release.encode(), mode=pysequoia.SignatureMode.CLEAR
        )
        self.files[f"dists/{suite}/InRelease"] = bytes(signed)

    def keyring(self) -> bytes:
        """The archive's public key."""
        return str(self.key.extract_certificate()).encode()

    def fetched(self, part: str) -> list[str]:
        """The requests whose path has `part` in it."""
        return [path for path, _ in self.requests if part in path]


class _Handler(BaseHTTPRequestHandler):
    """Answers GET, with ranges, as a mirror does."""

    def __init__(self, mirror: FakeMirror, *args: Any) -> None:
        self._mirror = mirror
        super().__init__(*args)

    def do_GET(self) -> None:
        path = self.path.removeprefix("/debian/").replace("%2B", "+")
        wanted = self.headers.get("Range", "")
        self._mirror.requests.append((path, wanted))
        data = self._mirror.files.get(path)
        if data is None:
            self.send_error(404)
            return
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted else 0
        self.send_response(206 if wanted else 200)
        self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        end = len(data)
        if path in self._mirror.cuts:
            self._mirror.cuts.discard(path)
            end = start + (end - start) // 2
        self.wfile.write(data[start:end])

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass
