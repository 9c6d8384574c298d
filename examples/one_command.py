"""Run one command in a Debian of its own, and get its output and exit status."""

import os
import sys
from pathlib import Path

from maquina import Session, Wanted, debian


def run(command: list[str]) -> tuple[int | None, bytes]:
    """The command's exit status and what it printed."""
    reading, writing = os.pipe()
    with Path(os.devnull).open("rb") as nothing, os.fdopen(writing, "wb") as output:
        streams = (nothing.fileno(), output.fileno(), sys.stderr.fileno())
        with Session(Wanted(guest=debian(), has_network=False)) as session:
            status = session.wait(session.start_command(command, streams))
    with os.fdopen(reading, "rb") as result:
        return status, result.read()


def main() -> None:
    status, printed = run(["python3", "-c", "import os; print(os.uname().machine)"])
    print(f"status {status}: {printed.decode().strip()}")


if __name__ == "__main__":
    main()
