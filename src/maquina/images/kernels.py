"""Debian's kernels: which package has one, its Image, its modules, how to start it quickly.

A kernel comes in one of three ways, the smallest first:

    linux-binary-VERSION-ARCH       10 MB, since forky; modules are in linux-modules, 117 MB
    kernel-image-VERSION-ARCH-di    9 MB, the installer's; some mirrors do not carry these
    linux-image-VERSION-ARCH        112 MB, with all the modules

Modules come from the installer's packages too where the mirror has them: 20 MB.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from maquina.errors import FormatError, ImageError, NetworkError
from maquina.images.archive import Archive
from maquina.images.cache import Cache
from maquina.images.deb import Deb
from maquina.images.download import NotThereError
from maquina.images.guest import Kernel
from maquina.images.index import Package
from maquina.images.modules import Module, load_order, read_modules
from maquina.images.versions import compare

SMALL_SUITES = ("testing", "unstable")  # where linux-binary is, in the order to look
STOCK = "quiet"

# What a boot does without on the tuned lines: the kernel's tests of its own ciphers, its keyring
# for module signatures, names for trace events; in 6.12 also an entropy source that measures
# timing jitter (the device tree brings a seed), and registrations for BPF.
_TUNED = {
    "7": "quiet cryptomgr.notests initcall_blacklist=load_system_certificate_list,trace_eval_init "
    "unaligned_scalar_speed=fast unaligned_vector_speed=fast",
    "6": "quiet cryptomgr.notests initcall_blacklist=jent_mod_init,load_system_certificate_list,"
    "trace_eval_init,check_unaligned_access_all_cpus,bpf_tcp_ca_kfunc_init,"
    "bpf_dummy_struct_ops_init,blake2s_mod_init",
}

# What is loaded for a purpose; what that needs besides, unless it is built in; and the installer's
# packages that have it. crc32c_generic is one that ext4 asks for without naming it (softdep).
NETWORK, DISK = "network", "disk"
DRIVERS = {NETWORK: ("virtio_net",), DISK: ("crc32c_generic", "virtio_blk", "ext4")}
_OPTIONAL = ("crc32c_generic",)
_NEEDED = ("net_failover", "failover", "jbd2", "mbcache", "crc16")
_INSTALLER_PACKAGES = ("nic-shared-modules", "nic-modules", "scsi-modules", "ext4-modules")


@dataclass(frozen=True)
class Found:
    """A kernel in an archive: its release ("7.2.12+deb14-riscv64") and the packages to try."""

    archive: Archive
    release: str
    version: str
    packages: tuple[Package, ...]


def find_kernel(archive: Archive) -> Found | None:
    """The newest kernel of a suite; None if it has none for the architecture."""
    index, installer = archive.index(), archive.installer_index()
    arch = re.escape(archive.architecture)
    small = index.newest(rf"linux-binary-\d[^-]*-{arch}")
    large = index.newest(rf"linux-image-\d[^-]*-{arch}")
    newest = small or large
    if newest is None:
        return None
    release = newest.name.removeprefix("linux-binary-").removeprefix("linux-image-")
    packages = [newest]
    if small is None and f"kernel-image-{release}-di" in installer:
        packages.insert(0, installer.get(f"kernel-image-{release}-di"))
    return Found(archive, release, newest.version, tuple(packages))


def fetch_kernel(cache: Cache, found: Found) -> Kernel:
    """The Image in the cache."""
    name = f"{found.release}_{_plain(found.version)}"
    with cache.making("kernels", name, found.archive.progress) as draft:
        if draft is not None:
            package = _first(found.archive, found.packages)
            draft.mkdir()
            _extract_image(package, draft / "Image")
    return Kernel(
        cache.path("kernels", name) / "Image", found.release, tuned(found.release), STOCK
    )


def fetch_modules(cache: Cache, found: Found) -> dict[str, tuple[Path, ...]]:
    """Modules in the cache, in the order to load them, for each purpose of DRIVERS."""
    name = f"{found.release}_{_plain(found.version)}"
    with cache.making("modules", name, found.archive.progress) as draft:
        if draft is not None:
            orders = _read(found)
            draft.mkdir()
            for purpose, modules in orders.items():
                for module in modules:
                    (draft / f"{module.name}.ko").write_bytes(module.data)
                lines = "".join(f"{module.name}.ko\n" for module in modules)
                (draft / purpose).write_text(lines)
    folder = cache.path("modules", name)
    return {
        purpose: tuple(folder / line for line in (folder / purpose).read_text().split())
        for purpose in DRIVERS
    }


def tuned(release: str) -> str:
    """The command line that saves a kernel the work nobody here needs; STOCK for unknown ones."""
    if compare(release.partition("+")[0], "7") >= 0:
        return _TUNED["7"]
    return _TUNED["6"] if release.startswith("6.12.") else STOCK


def _read(found: Found) -> dict[str, list[Module]]:
    """The modules for each purpose, from the smallest packages that have them all."""
    reason = NetworkError(
        f"the mirror has no modules for the kernel {found.release}",
        "choose another with --kernel, or another mirror",
    )
    for packages in _sources(found):
        try:
            debs = found.archive.fetch_all(packages, "kernel modules")
            orders = _orders(debs)
        except NotThereError as error:
            reason = error  # the mirror lists the installer's packages and does not carry them
        except ImageError as error:
            reason = NetworkError(error.message, error.remedy)
        else:
            found.archive.discard(packages)  # large, and all that is wanted of them is out
            return orders
    raise reason


def _orders(debs: list[Deb]) -> dict[str, list[Module]]:
    wanted = {name for names in DRIVERS.values() for name in names}
    available = read_modules(debs, {*wanted, *_NEEDED})
    return {
        purpose: load_order(available, [n for n in names if n in available or n not in _OPTIONAL])
        for purpose, names in DRIVERS.items()
    }


def _sources(found: Found) -> list[list[Package]]:
    index, installer = found.archive.index(), found.archive.installer_index()
    names = [f"{name}-{found.release}-di" for name in _INSTALLER_PACKAGES]
    sources = []
    if all(name in installer for name in names):
        sources.append([installer.get(name) for name in names])
    large = [f"linux-modules-{found.release}", f"linux-image-{found.release}"]
    return sources + [[index.get(name)] for name in large if name in index]


def _first(archive: Archive, packages: Iterable[Package]) -> Deb:
    """The first of these packages that the mirror really has."""
    missing: NotThereError | None = None
    for package in packages:
        try:
            return archive.fetch(package)
        except NotThereError as error:
            missing = error
    assert missing is not None
    raise missing


def _extract_image(package: Deb, path: Path) -> None:
    with package.data() as tar:
        for member in tar:
            if re.search(r"/vmlinu[xz](-[^/]*)?$", member.name) and member.isreg():
                stream = tar.extractfile(member)
                if stream is not None:
                    with path.open("wb") as file:
                        shutil.copyfileobj(stream, file, 1 << 20)
                    return
    raise FormatError(f"{package.name} has no kernel in it", "choose another with --kernel")


def _plain(version: str) -> str:
    """A version as a part of a file name."""
    return version.replace(":", ".").replace("/", ".")
