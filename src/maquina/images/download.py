"""Fetching files over HTTP: several at once, resumed after interruptions, checked by their hashes.

A file is written as NAME.part beside its place and renamed when its hash is right. A part left by
an interrupted run is continued, not begun again.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Lock
from types import TracebackType
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlsplit

from maquina.errors import NetworkError, SignatureError
from maquina.images.cache import host_limits
from maquina.images.progress import SILENT, Progress, Task
from maquina.images.sources import AptConfiguration, without_credentials

if TYPE_CHECKING:
    import httpx

STREAMS = 6
ATTEMPTS = 4
TIMEOUT_S = 30.0
PATIENCE_S = 1.0  # before the second attempt; twice that before each further one
MAX_INDEX = 64 << 20  # bytes of a file without a known size: a mirror may send without end
_USER_AGENT = "maquina"


@dataclass(frozen=True)
class Wanted:
    """A file to fetch: where it is, where it goes, what it must be."""

    url: str
    path: Path
    sha256: str
    size_bytes: int

    @property
    def name(self) -> str:
        return self.url.rpartition("/")[2]


T = TypeVar("T")


class NotThereError(NetworkError):
    """The mirror was reached and does not have the file."""


class _OverloadedError(Exception):
    """The server asks to come back later."""


class Downloader:
    """HTTP connections to mirrors, through the proxy that apt uses. A context manager."""

    def __init__(self, configuration: AptConfiguration, progress: Progress = SILENT) -> None:
        self._configuration = configuration
        self._progress = progress
        self._clients: dict[str, httpx.Client] = {}
        self._opening = Lock()
        self._stopped = Event()
        self._pool = ThreadPoolExecutor(STREAMS, thread_name_prefix="download")

    def __enter__(self) -> Downloader:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()
        self._pool.shutdown(wait=True, cancel_futures=True)
        for client in self._clients.values():
            client.close()

    def stop(self) -> None:
        """Break off what is under way, in all threads: nobody waits for it any more."""
        self._stopped.set()

    def read(self, url: str) -> bytes:
        """A small file as it is now. NetworkError; NotThereError if the mirror lacks it."""

        def once() -> bytes:
            with self._client(url).stream("GET", _quoted(url)) as response:
                _require(response, url)
                data = bytearray()
                for chunk in response.iter_raw():
                    data += chunk
                    if len(data) > MAX_INDEX:
                        raise NetworkError(f"{_host(url)} sends without end", "use another mirror")
                return bytes(data)

        return self._persist(url, once)

    def fetch(self, files: Iterable[Wanted], label: str) -> None:
        """Bring all of these files to their places.

        NetworkError; SignatureError if the contents of one are not what was signed.
        """
        missing = [wanted for wanted in files if not wanted.path.exists()]
        if not missing:
            return
        with self._progress.task(label, sum(each.size_bytes for each in missing)) as task:
            jobs = [self._pool.submit(self._bring, wanted, task) for wanted in missing]
            try:
                for job in jobs:
                    job.result()
            finally:
                for job in jobs:
                    job.cancel()

    def _bring(self, wanted: Wanted, task: Task) -> None:
        part = wanted.path.with_name(wanted.path.name + ".part")
        with host_limits(part):
            part.parent.mkdir(parents=True, exist_ok=True)
            with part.open("ab") as guard:
                fcntl.flock(guard, fcntl.LOCK_EX)  # two runs may want the same file
                if not wanted.path.exists():
                    self._complete(wanted, part, task)
                    part.rename(wanted.path)

    def _complete(self, wanted: Wanted, part: Path, task: Task) -> None:
        """Fetch what is missing and check it; once more from its beginning if it is wrong."""
        for _ in range(2):
            self._persist(wanted.url, lambda: self._continue(wanted, part, task))
            if _sha256(part) == wanted.sha256:
                return
            os.truncate(part, 0)
        raise SignatureError(
            f"{wanted.name} from {_host(wanted.url)} is not the file that was signed",
            "use another mirror",
        )

    def _continue(self, wanted: Wanted, part: Path, task: Task) -> None:
        """Fetch what is missing of a part. A transfer that breaks off is an error of httpx's."""
        have = part.stat().st_size
        if have == wanted.size_bytes:
            return
        if have > wanted.size_bytes:
            have = 0
        headers = {"Range": f"bytes={have}-"} if have else {}
        client = self._client(wanted.url)
        with client.stream("GET", _quoted(wanted.url), headers=headers) as response:
            _require(response, wanted.url)
            if response.status_code != 206:
                have = 0  # the server does not resume
            with part.open("ab" if have else "wb") as file:
                task.advance(have)
                for chunk in response.iter_raw():
                    have += len(chunk)
                    if have > wanted.size_bytes:
                        break  # too long to be right; the hash will tell
                    file.write(chunk)
                    task.advance(len(chunk))
                    if self._stopped.is_set():
                        raise NetworkError(f"the download of {wanted.name} was stopped")

    def _persist(self, url: str, attempt: Callable[[], T]) -> T:
        """Try again after what may pass: lost connections, overloaded servers."""
        import httpx

        reason = ""
        for number in range(ATTEMPTS):
            if number:
                time.sleep(PATIENCE_S * 2 ** (number - 1))
            try:
                return attempt()
            except (httpx.TransportError, _OverloadedError) as error:
                reason = str(error) or type(error).__name__
        raise NetworkError(
            f"cannot read {without_credentials(url)} ({reason})",
            "check the connection and the proxy settings, or name another mirror with --mirror",
        )

    def _client(self, url: str) -> httpx.Client:
        import httpx

        proxy = self._configuration.proxy(url) or ""
        with self._opening:
            if proxy not in self._clients:
                self._clients[proxy] = httpx.Client(
                    proxy=proxy if proxy not in ("", "DIRECT") else None,
                    trust_env=not proxy,  # http_proxy and no_proxy, unless apt has its own
                    timeout=TIMEOUT_S,
                    follow_redirects=True,
                    headers={"User-Agent": _USER_AGENT, "Accept-Encoding": "identity"},
                )
            return self._clients[proxy]


def _require(response: httpx.Response, url: str) -> None:
    status, shown = response.status_code, without_credentials(url)
    if status in (404, 410):
        raise NotThereError(f"{shown} does not exist", "use another mirror or suite")
    if status in (408, 429) or status >= 500:
        raise _OverloadedError(f"the server answered {status}")
    if status not in (200, 206):
        raise NetworkError(f"{shown} was refused with status {status}", "use another mirror")


def _quoted(url: str) -> str:
    """A `+` in a path means itself, but some servers read it as a blank."""
    return url.replace("+", "%2B")


def _host(url: str) -> str:
    return urlsplit(url).hostname or url


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
