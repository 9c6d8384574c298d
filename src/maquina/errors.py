"""Every error that Maquina raises on purpose.

    MaquinaError               a user or the host got something wrong; the message says what to do
    ├── UsageError             an option or argument that makes no sense
    ├── ImageError             a kernel, firmware, disk image or package that cannot be used
    │   ├── FormatError        bytes that are not what they claim to be
    │   └── SignatureError     contents that nobody vouches for
    ├── HostError              the host lacks something: memory, disk space, a port, a permission
    ├── NetworkError           a mirror or a registry cannot be reached
    ├── StateError             a snapshot or saved state that does not fit this machine
    └── NativeError            source that the native subset of Python does not have (file:line)

    GuestFault                 a guest named memory that it does not have; devices catch it at
                               their boundary and answer as hardware would

What a guest does wrong is a trap, a device status or a halt, never an exception that leaves the
machine. Anything that is neither of these is a bug and propagates.
"""

from __future__ import annotations


class MaquinaError(Exception):
    """A mistake of the user or a lack of the host: `message`, and a `remedy`: what to do."""

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message, remedy)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message}; {self.remedy}" if self.remedy else self.message


class UsageError(MaquinaError):
    """An option or argument that makes no sense."""


class ImageError(MaquinaError):
    """A kernel, firmware, disk image or package that cannot be used."""


class FormatError(ImageError):
    """Bytes that are not what they claim to be: truncated, corrupt, of another kind."""


class SignatureError(ImageError):
    """Contents that nobody vouches for."""


class HostError(MaquinaError):
    """The host lacks something: memory, disk space, a free port, a permission."""


class NetworkError(MaquinaError):
    """A mirror or a registry cannot be reached, or does not have what was asked for."""


class StateError(MaquinaError):
    """A snapshot or saved state that does not fit this machine."""


class NativeError(MaquinaError):
    """Source that the native subset of Python does not have; the message begins with file:line."""


class GuestFault(Exception):
    """A guest named memory that it does not have. Caught by the device it spoke to."""
