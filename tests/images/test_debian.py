"""A request, from a mirror to a guest in the cache."""

from __future__ import annotations

import fcntl
import re
import stat
import threading
from hashlib import sha256
from pathlib import Path

import pysequoia
import pytest
from tests.images.fake_mirror import KERNEL, FakeMirror, FakePackage, small_debian

from maquina.errors import (
    HostError,
    ImageError,
    MaquinaError,
    NetworkError,
    SignatureError,
    UsageError,
)
from maquina.images import Guest, debian
from maquina.images.cache import Cache
from maquina.images.download import Downloader, Wanted
from maquina.images.guest import MODULES
from maquina.images.sources import AptConfiguration
from maquina.images.trees import Node, walk
from maquina.storage.layers.layer import Layer


def make(mirror: FakeMirror, keyring: Path, *packages: str) -> Guest:
    return debian(packages=packages, mirror=mirror.url, keyring=keyring)


def files_of(guest: Guest) -> dict[str, tuple[Node, bytes]]:
    layers = [Layer.open(path) for path in guest.layers]
    try:
        return {node.path.decode(): (node, node.read()) for node in walk(layers)}
    finally:
        for layer in layers:
            layer.close()


def leftovers(cache: Cache) -> list[str]:
    """Systems and answers in the cache, finished or not."""
    return [
        str(path.relative_to(cache.root))
        for kind in ("guests", "layers")
        for path in cache.root.joinpath(kind).glob("*")
        if not path.name.startswith("modules-")
    ]


def test_a_system_is_complete(mirror: FakeMirror, keyring: Path, cache: Cache) -> None:
    guest = make(mirror, keyring)
    files = files_of(guest)
    assert guest.name == "Debian trixie"
    assert guest.kernel.version == KERNEL
    assert guest.kernel.image.read_bytes() == b"MZ kernel"
    assert "cryptomgr.notests" in guest.kernel.tuned
    assert guest.busybox.read_bytes() == b"static busybox"
    assert [path.stem for path in guest.modules] == ["failover", "net_failover", "virtio_net"]
    assert files[f"{MODULES}/order"][1] == b"failover.ko\nnet_failover.ko\nvirtio_net.ko\n"
    assert files["bin"][1] == b"usr/bin"
    assert files["usr/bin/ip"][1] == b"ip"  # shipped as /bin/ip
    assert files["usr/lib/libc.so.6"][1] == b"libc"
    assert files["etc/profile"][1] == b"# profile\n"
    assert files["etc/passwd"][1] == b"root:x:0:0:root:/root:/bin/bash\n"
    assert files["etc/shadow"][1].startswith(b"root:*:")
    assert files["etc/shadow"][0].record.gid == 42
    assert stat.S_IMODE(files["etc/shadow"][0].record.mode) == 0o640
    assert stat.S_IMODE(files["tmp"][0].record.mode) == 0o1777
    assert files["var/run"][1] == b"/run"
    assert "usr/bin/gawk" not in files
    assert files["usr/bin/awk"][1] == b"/etc/alternatives/awk"
    assert mirror.url.encode() in files["etc/apt/sources.list.d/debian.sources"][1]


def test_the_database_is_as_dpkg_writes_it(
    mirror: FakeMirror, keyring: Path, cache: Cache
) -> None:
    files = files_of(make(mirror, keyring, "hello"))
    status = files["var/lib/dpkg/status"][1].decode()
    states = dict(re.findall(r"Package: (\S+)\nStatus: install ok (\w+)", status))
    assert states["base-files"] == states["mawk"] == states["libc6"] == "installed"
    assert states["hello"] == "unpacked"  # its script is dpkg's to run
    assert "\nConffiles:\n /etc/debian_version 19c7d5bff4d5ab9a98ea2e3a4a5a4b6f" not in status
    assert re.search(r"\nConffiles:\n /etc/debian_version [0-9a-f]{32}\n", status)
    info = "var/lib/dpkg/info"
    assert files[f"{info}/hello.list"][1] == b"/usr/bin/hello\n"
    assert stat.S_IMODE(files[f"{info}/hello.postinst"][0].record.mode) == 0o755
    assert f"{info}/libc6:riscv64.list" in files
    assert files["var/lib/dpkg/triggers/ldconfig"][1] == b"libc-bin\n"
    assert files["var/lib/dpkg/alternatives/awk"][1] == (
        b"auto\n/usr/bin/awk\nnawk\n/usr/bin/nawk\n\n/usr/bin/mawk\n5\n/usr/bin/mawk\n\n"
    )


def test_a_second_request_does_not_ask_the_mirror(
    mirror: FakeMirror, keyring: Path, cache: Cache
) -> None:
    first = make(mirror, keyring)
    mirror.requests.clear()
    assert make(mirror, keyring) == first
    assert mirror.requests == []


def test_added_packages_fetch_only_themselves(
    mirror: FakeMirror, keyring: Path, cache: Cache
) -> None:
    make(mirror, keyring)
    mirror.requests.clear()
    files = files_of(make(mirror, keyring, "hello"))
    assert files["usr/bin/hello"][1] == b"hello"
    assert mirror.fetched("pool/") == ["pool/hello_2.10.deb"]
    assert mirror.fetched("Packages") == []


def test_refresh_takes_what_is_new(mirror: FakeMirror, keyring: Path, cache: Cache) -> None:
    old = make(mirror, keyring)
    packages = [each for each in small_debian() if not each.name.startswith("linux-")]
    next(each for each in packages if each.name == "mawk").version = "1.4"
    mirror.publish("trixie", packages)
    assert make(mirror, keyring) == old
    new = debian(mirror=mirror.url, keyring=keyring, refresh=True)
    assert new.layers[0] != old.layers[0]
    assert b"Version: 1.4" in files_of(new)["var/lib/dpkg/status"][1]
    assert make(mirror, keyring) == new


def test_a_lost_file_is_made_again(mirror: FakeMirror, keyring: Path, cache: Cache) -> None:
    guest = make(mirror, keyring)
    guest.busybox.unlink()
    guest.busybox.parent.rmdir()
    assert make(mirror, keyring).busybox.exists()


@pytest.mark.parametrize(
    ("package", "words"),
    [
        ("helo", "did you mean hello"),
        ("hlelo", "did you mean hello"),
        ("needs-new", "libc6 .>= 9."),
        ("xyzzy-nothing-like-it", "check its spelling"),
    ],
)
def test_packages_that_cannot_be(
    mirror: FakeMirror, keyring: Path, cache: Cache, package: str, words: str
) -> None:
    with pytest.raises(ImageError, match=words):
        make(mirror, keyring, package)
    assert leftovers(cache) == []


def test_packages_that_exclude_each_other(mirror: FakeMirror, keyring: Path, cache: Cache) -> None:
    with pytest.raises(ImageError, match="cannot be together"):
        make(mirror, keyring, "hello", "rival")


def test_a_corrupt_package(mirror: FakeMirror, keyring: Path, cache: Cache) -> None:
    data = bytearray(mirror.files["pool/mawk_1.3.deb"])
    data[-20] ^= 1
    mirror.files["pool/mawk_1.3.deb"] = bytes(data)
    with pytest.raises(SignatureError, match=r"mawk_1\.3\.deb .* not the file that was signed"):
        make(mirror, keyring)
    assert leftovers(cache) == []
    assert len(mirror.fetched("mawk")) == 2


def test_a_corrupt_index(mirror: FakeMirror, keyring: Path, cache: Cache) -> None:
    path = "dists/trixie/main/binary-riscv64/Packages.xz"
    mirror.files[path] = mirror.files[path][:-1] + b"!"
    with pytest.raises(SignatureError, match="not the file that was signed"):
        make(mirror, keyring)


def test_an_interrupted_download_is_resumed(
    mirror: FakeMirror, keyring: Path, cache: Cache
) -> None:
    mirror.cuts.add("pool/libc6_2.41.deb")
    make(mirror, keyring)
    ranges = [wanted for path, wanted in mirror.requests if "libc6" in path]
    assert len(ranges) == 2
    assert ranges[0] == ""
    assert ranges[1].startswith("bytes=")


def test_a_forged_index(mirror: FakeMirror, keyring: Path, cache: Cache) -> None:
    stranger = pysequoia.Tsk.generate("Stranger <stranger@example.org>")
    mirror.publish("trixie", small_debian(), signer=stranger)
    with pytest.raises(SignatureError, match="no known key"):
        make(mirror, keyring)
    assert leftovers(cache) == []


def test_an_index_changed_after_signing(mirror: FakeMirror, keyring: Path, cache: Cache) -> None:
    path = "dists/trixie/InRelease"
    mirror.files[path] = mirror.files[path].replace(b"Origin: Debian", b"Origin: Somebody")
    with pytest.raises(SignatureError, match="no known key"):
        make(mirror, keyring)


def test_an_index_without_a_signature(mirror: FakeMirror, keyring: Path, cache: Cache) -> None:
    mirror.files["dists/trixie/InRelease"] = b"Origin: Debian\nSuite: trixie\n"
    with pytest.raises(SignatureError):
        make(mirror, keyring)


def test_the_index_of_another_suite(mirror: FakeMirror, keyring: Path, cache: Cache) -> None:
    mirror.files["dists/trixie/InRelease"] = mirror.files["dists/testing/InRelease"]
    with pytest.raises(SignatureError, match="not of trixie"):
        make(mirror, keyring)


def test_an_expired_index(mirror: FakeMirror, keyring: Path, cache: Cache) -> None:
    past = "Valid-Until: Sat, 01 Jan 2022 00:00:00 UTC\n"
    mirror.publish("trixie", small_debian(), more=past)
    with pytest.raises(SignatureError, match="expired on 2022-01-01"):
        make(mirror, keyring)


def test_a_mirror_without_the_suite(mirror: FakeMirror, keyring: Path, cache: Cache) -> None:
    with pytest.raises(NetworkError, match="no mirror has the suite bullseye"):
        debian("bullseye", mirror=mirror.url, keyring=keyring)


def test_a_suite_without_the_architecture(mirror: FakeMirror, keyring: Path, cache: Cache) -> None:
    mirror.publish("bookworm", small_debian(), architecture="amd64")
    with pytest.raises(NetworkError, match="no riscv64 packages in bookworm"):
        debian("bookworm", mirror=mirror.url, keyring=keyring)


def test_no_mirror_at_all(mirror: FakeMirror, keyring: Path, cache: Cache) -> None:
    with pytest.raises(NetworkError, match="--mirror"):
        debian(keyring=keyring)


def test_a_mirror_that_cannot_be_reached(mirror: FakeMirror, keyring: Path, cache: Cache) -> None:
    with pytest.raises(NetworkError, match="Connection refused"):
        debian(mirror="http://127.0.0.1:1/debian", keyring=keyring)


def test_a_suite_without_a_kernel(mirror: FakeMirror, keyring: Path, cache: Cache) -> None:
    with pytest.raises(NetworkError, match="no riscv64 kernel"):
        debian(kernel="trixie", mirror=mirror.url, keyring=keyring)


def test_a_keyring_that_is_none(mirror: FakeMirror, cache: Cache, tmp_path: Path) -> None:
    path = tmp_path / "nothing.gpg"
    path.write_bytes(b"not a key")
    with pytest.raises(MaquinaError, match="keyring"):
        make(mirror, path)


@pytest.mark.parametrize("name", ["../etc", "Trixie", "", "a b"])
def test_names_that_cannot_be(cache: Cache, name: str) -> None:
    with pytest.raises(UsageError):
        debian(packages=[name])


def test_a_hostile_package(mirror: FakeMirror, keyring: Path, cache: Cache) -> None:
    evil = FakePackage("hello", "3", {}, {"../../escape": b"out"})
    mirror.publish("trixie", [p for p in small_debian() if p.name != "hello"] + [evil])
    with pytest.raises(ImageError, match="no path for a layer"):
        make(mirror, keyring, "hello")
    assert [p for p in leftovers(cache) if p.startswith("layers")] == []
    assert not list(cache.root.parent.rglob("escape"))


def test_two_requests_at_once_do_the_work_once(
    mirror: FakeMirror, keyring: Path, cache: Cache
) -> None:
    guests: list[Guest] = []
    threads = [
        threading.Thread(target=lambda: guests.append(make(mirror, keyring))) for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(guests) == 3
    assert guests[0] == guests[1] == guests[2]
    assert len(mirror.fetched("mawk")) == 1
    assert len(mirror.fetched("trixie/InRelease")) == 1


def test_a_full_disk(
    mirror: FakeMirror, keyring: Path, cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("maquina.images.download.os.truncate", refuse)
    data = bytearray(mirror.files["pool/mawk_1.3.deb"])
    data[-20] ^= 1
    mirror.files["pool/mawk_1.3.deb"] = bytes(data)
    with pytest.raises(HostError, match="make room"):
        make(mirror, keyring)
    assert leftovers(cache) == []


def test_prune_leaves_what_is_in_use(mirror: FakeMirror, keyring: Path, cache: Cache) -> None:
    guest = make(mirror, keyring)
    with cache.using(guest.paths()):
        assert cache.prune() > 0
        assert all(path.exists() for path in guest.paths())
        assert not list((cache.root / "packages").glob("*.deb"))
    assert cache.prune() > 0
    assert not any(path.exists() for path in guest.paths())
    assert cache.entries() == []


def test_waiting_for_another_run_is_told(mirror: FakeMirror, keyring: Path, cache: Cache) -> None:
    guest = make(mirror, keyring)
    notes: list[str] = []

    class Listener:
        def task(self, label: str, total: int | None, unit: str = "B") -> object:
            raise AssertionError("nothing is to be done")

        def note(self, message: str) -> None:
            notes.append(message)
            lock.close()

    with (
        (cache.root / "locks" / f"layers-{guest.layers[0].name}").open("w") as lock,
    ):
        fcntl.flock(lock, fcntl.LOCK_EX)
        guest.layers[0].rename(guest.layers[0].with_name("elsewhere"))
        with cache.making("layers", guest.layers[0].name, Listener()) as draft:  # type: ignore[arg-type]
            assert draft is not None
            draft.mkdir()
    assert notes == ["waiting for another run that is preparing the same files"]


def test_prune_removes_what_killed_processes_left(cache: Cache) -> None:
    for name in ("layers/.unfinished-trixie-1", "layers/..unfinished-trixie-2.abcd"):
        (cache.root / name).mkdir(parents=True)
    with cache.making("kernels", "k") as draft:
        assert draft is not None
        draft.mkdir()
        cache.prune()
        assert draft.exists()  # somebody is at it
    assert list((cache.root / "layers").iterdir()) == []
    assert cache.path("kernels", "k").exists()


def test_a_stopped_download_leaves_a_part(
    mirror: FakeMirror, keyring: Path, cache: Cache, tmp_path: Path
) -> None:
    data = mirror.files["pool/libc6_2.41.deb"]
    wanted = Wanted(
        f"{mirror.url}/pool/libc6_2.41.deb", tmp_path / "x", sha256(data).hexdigest(), len(data)
    )
    with Downloader(AptConfiguration()) as downloader:
        downloader.stop()
        with pytest.raises(NetworkError, match="stopped"):
            downloader.fetch([wanted], "a package")
    assert not wanted.path.exists()
    with Downloader(AptConfiguration()) as downloader:
        downloader.fetch([wanted], "a package")
    assert wanted.path.read_bytes() == data
