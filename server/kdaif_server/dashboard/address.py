"""Where the dashboard listens: on this machine alone."""

from __future__ import annotations

import errno
import re
import socket
from dataclasses import dataclass

from kdaif.errors import InvalidInputError, UnavailableError
from kdaif_server.access.loopback import is_loopback

_FORM = re.compile(r"(?:\[(?P<six>[0-9A-Fa-f:]+)\]|(?P<host>[^:\[\]]*)):(?P<port>[0-9]{1,5})")
LOCAL_NAMES = frozenset({"localhost", "127.0.0.1", "[::1]"})
"""What a request may call us. Any other name is a page elsewhere that had its own name point here."""


@dataclass(frozen=True)
class Address:
    """A loopback address and a port; 0 takes a free one."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Address:
        """From ``HOST:PORT``, ``[::1]:PORT`` or ``:PORT``.

        Raises:
            InvalidInputError: another form, or a host that others can reach.
        """
        found = _FORM.fullmatch(text.strip())
        if found is None or int(found["port"]) > 65_535:
            raise InvalidInputError.of("dashboard", f"is {text!r}; write HOST:PORT, for example 127.0.0.1:8080, or off")
        host = found["six"] or found["host"] or "127.0.0.1"
        if not is_loopback(host):
            raise InvalidInputError.of(
                "dashboard",
                f"is {text!r}, which other machines can reach, and the dashboard asks nobody who they are: it listens "
                "on 127.0.0.1, ::1 or localhost only. From elsewhere: ssh -L 8080:127.0.0.1:8080 HOST",
            )
        return cls("127.0.0.1" if host == "localhost" else host, int(found["port"]))

    def bind(self, *, or_free: bool = False) -> socket.socket:
        """A socket bound here.

        Args:
            or_free: take any free port where this one is taken.

        Raises:
            UnavailableError: the port is taken, or the address is none of this machine.
        """
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        bound = socket.socket(family, socket.SOCK_STREAM)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            bound.bind((self.host, self.port))
        except OSError as error:
            bound.close()
            if error.errno == errno.EADDRINUSE and or_free:
                return Address(self.host, 0).bind()
            raise UnavailableError(
                f"The dashboard cannot listen on {self.host}:{self.port}: {error.strerror}. End what listens there, or "
                "choose --dashboard HOST:PORT."
            ) from error
        return bound
