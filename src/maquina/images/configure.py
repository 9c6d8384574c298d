"""What the maintainer scripts of Debian's base packages do on a new system, done from outside.

A hundred scripts take a minute and more inside an emulated machine. Those of the base packages do
little, and the same every time: copy a default, make a directory, a link, the password files. All
of it is below, package by package, so that these packages can be recorded as configured and apt
works at once. `SCRIPTED` names them; any other package keeps its script for dpkg, which runs it
the next time apt is used in the guest, or at `dpkg --configure -a`.
"""

from __future__ import annotations

from collections.abc import Iterable

from maquina.images.certificates import CERTIFICATES, write_certificates
from maquina.storage.layers.writer import LayerWriter

# The base packages that have such a script, in one suite or another.
SCRIPTED = frozenset({
    "apt", "base-files", "base-passwd", "bash", "ca-certificates", "dash", "debconf",
    "debian-archive-keyring", "debianutils", "dpkg", "gzip", "init-system-helpers", "iproute2",
    "libc-bin", "libc6", "libgssapi-krb5-2", "libpam-modules", "libpam-modules-bin",
    "libpam-runtime", "libpam0g", "libselinux1", "login", "login.defs", "mawk", "netbase",
    "openssl", "passwd", "readline-common", "sysvinit-utils", "tar", "tzdata", "util-linux",
})  # fmt: skip
PYTHON = ("python3", "libpython3")  # theirs compile modules, which Python itself does as needed

_COPIES = {
    "/usr/share/base-files/dot.bashrc": "root/.bashrc",
    "/usr/share/base-files/dot.profile": "root/.profile",
    "/usr/share/base-files/info.dir": "usr/share/info/dir",
    "/usr/share/base-files/motd": "etc/motd",
    "/usr/share/base-files/profile": "etc/profile",
    "/usr/share/libc-bin/nsswitch.conf": "etc/nsswitch.conf",
    "/usr/share/readline/inputrc": "etc/inputrc",
}
_MASTERS = "/usr/share/base-passwd/"
_SHELLS = "/usr/share/debianutils/shells"
_PAM = "/usr/share/pam/common-"

_DIRECTORIES = {
    "etc/opt": 0o755, "media": 0o755, "mnt": 0o755, "opt": 0o755, "srv": 0o755,
    "var/opt": 0o755, "run/lock": 0o1777, "usr/local": 0o755, "usr/local/bin": 0o755,
    "usr/local/etc": 0o755, "usr/local/games": 0o755, "usr/local/include": 0o755,
    "usr/local/lib": 0o755, "usr/local/libexec": 0o755, "usr/local/sbin": 0o755,
    "usr/local/share": 0o755, "usr/local/share/ca-certificates": 0o755,
    "usr/local/share/man": 0o755, "usr/local/src": 0o755,
}  # fmt: skip
_LINKS = {
    "etc/dpkg/origins/default": "debian",
    "etc/localtime": "/usr/share/zoneinfo/Etc/UTC",
    "usr/local/man": "share/man",
    "var/lock": "/run/lock",
    "var/run": "/run",
    "var/spool/mail": "../mail",
}
_FILES = {
    "etc/default/locale": "LANG=C.UTF-8\n",
    "etc/environment": "",
    "etc/fstab": "# the root file system is the machine's own\n",
    "etc/hostname": "debian\n",
    "etc/hosts": "127.0.0.1\tlocalhost\n127.0.1.1\tdebian\n"
    "::1\t\tlocalhost ip6-localhost ip6-loopback\n"
    "ff02::1\t\tip6-allnodes\nff02::2\t\tip6-allrouters\n",
    "etc/networks": "default\t\t0.0.0.0\nloopback\t127.0.0.0\nlink-local\t169.254.0.0\n",
    "etc/python3/debian_config": "[DEFAULT]\n# how to byte-compile "
    "(comma separated: standard, optimize)\nbyte-compile = standard\n",
    "etc/subgid": "",
    "etc/subuid": "",
    "etc/timezone": "Etc/UTC\n",
}
UTMP, SHADOW, MAIL = 43, 42, 8  # groups of base-passwd's master files
_LOGS = {"wtmp": 0o664, "btmp": 0o660, "lastlog": 0o664}

# pam-auth-update's result for the one profile that the base system has, "unix": what the
# placeholders in its templates stand for, and what it notes down as chosen. It takes any other
# text, even without the blanks at the ends of lines, for an administrator's own.
_AUTH = "pam_unix.so nullok"
_PASSWORD = "pam_unix.so obscure yescrypt"
_PAM_PRIMARY = {
    "auth": f"auth\t[success=1 default=ignore]\t{_AUTH}",
    "account": "account\t[success=1 new_authtok_reqd=done default=ignore]\tpam_unix.so ",
    "password": f"password\t[success=1 default=ignore]\t{_PASSWORD}",
    "session": "session\t[default=1]\t\t\tpam_permit.so",
    "session-noninteractive": "session\t[default=1]\t\t\tpam_permit.so",
}
_UNIX = "Module: unix\n"
_NO_PRIMARY = f"Module: null\n[default=1]\t\t\tpam_permit.so\n{_UNIX}"
_PAM_NOTED = {
    "auth": f"{_UNIX}[success=end default=ignore]\t{_AUTH}",
    "account": f"{_UNIX}[success=end new_authtok_reqd=done default=ignore]\tpam_unix.so",
    "password": f"{_UNIX}[success=end default=ignore]\t{_PASSWORD}",
    "session": f"{_NO_PRIMARY}required\tpam_unix.so",
    "session-noninteractive": f"{_NO_PRIMARY}required\tpam_unix.so",
}


def is_configured(name: str, has_script: bool, is_base: bool) -> bool:
    """Whether a package has nothing left to do for dpkg: no script, or one done here."""
    return not has_script or (is_base and (name in SCRIPTED or name.startswith(PYTHON)))


def keeps(path: str) -> bool:
    """Whether `configure` will want to read a file."""
    return path in _COPIES or path == _SHELLS or path.startswith((_MASTERS, _PAM, CERTIFICATES))


def configure(writer: LayerWriter, kept: dict[str, bytes]) -> None:
    """Complete an unpacked base system. `kept` has the files that `keeps` asked for."""
    for path, mode in _DIRECTORIES.items():
        writer.directory(path, mode)
    writer.directory("var/mail", 0o2775, gid=MAIL)
    for path, target in _LINKS.items():
        writer.symlink(path, target)
    for path, text in _FILES.items():
        writer.file(path, text.encode(), 0o644)
    for source, path in _COPIES.items():
        if source in kept:
            writer.file(path, kept[source], 0o644)
    for name, mode in _LOGS.items():
        writer.file(f"var/log/{name}", b"", mode, gid=UTMP)
    writer.file("etc/security/opasswd", b"", 0o600)
    _write_accounts(writer, kept)
    _write_shells(writer, kept)
    _write_pam(writer, kept)
    write_certificates(writer, kept)


def _write_accounts(writer: LayerWriter, kept: dict[str, bytes]) -> None:
    """passwd and group as base-passwd has them, and their shadows. No account has a password."""
    for name, shadow in (("passwd", "shadow"), ("group", "gshadow")):
        master = kept.get(f"{_MASTERS}{name}.master", b"").decode()
        entries = [line.split(":") for line in master.splitlines() if ":" in line]
        for entry in entries:
            entry[1] = "x"
        shadows = [
            f"{entry[0]}:*:19000:0:99999:7:::" if name == "passwd" else f"{entry[0]}:*::"
            for entry in entries
        ]
        writer.file(f"etc/{name}", _lines(":".join(entry) for entry in entries), 0o644)
        writer.file(f"etc/{shadow}", _lines(shadows), 0o640, gid=SHADOW)


def _write_shells(writer: LayerWriter, kept: dict[str, bytes]) -> None:
    shells = kept.get(_SHELLS, b"/bin/sh\n").decode().splitlines()
    names = ("sh", "bash", "rbash", "dash")
    known = [f"{folder}/{name}" for name in names for folder in ("/bin", "/usr/bin")]
    writer.file("etc/shells", _lines(dict.fromkeys([*shells, *known])), 0o644)
    writer.file("var/lib/shells.state", _lines(known), 0o644)


def _write_pam(writer: LayerWriter, kept: dict[str, bytes]) -> None:
    for name, primary in _PAM_PRIMARY.items():
        template = kept.get(_PAM + name)
        if template is None:
            continue
        kind = name.partition("-")[0]
        more = "session\trequired\tpam_unix.so \n" if kind == "session" else ""
        text = template.decode()
        text = text.replace(f"${kind}_primary", primary).replace(f"${kind}_additional\n", more)
        text = text.replace("$session_nonint_primary", primary)
        text = text.replace("$session_nonint_additional\n", more)
        writer.file(f"etc/pam.d/common-{name}", text.encode(), 0o644)
        writer.file(f"var/lib/pam/{name}", f"{_PAM_NOTED[name]}\n".encode(), 0o644)
    writer.file("var/lib/pam/seen", b"unix\nmkhomedir\n", 0o644)


def _lines(lines: Iterable[str]) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode()
