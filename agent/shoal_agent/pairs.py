"""Which key and certificate the device shows to the broker while one takes the place of another.

In `<data>/identity/`: `device.pem` is the pair that the broker has taken. `next.key` is the key that a renewal asks
with, and stays until its certificate is in use, so that a renewal whose answer was lost asks with the same one.
`next.pem` is the next pair, whole. The next connection shows it: if the broker takes it, one rename makes it
`device.pem` and the old pair is gone; if not, the old one is shown again, and if that is taken, `next.pem` is dropped.
A power cut at any step leaves a whole pair, and what is left of the rest is continued.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from logging import getLogger
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec

from shoal_agent.durable import replace_file, sync_folder
from shoal_agent.errors import DiskError
from shoal_agent.identity import PAIR, load_key, load_or_make, to_pem

_log = getLogger(__name__)


class Pairs:
    """The pairs in one identity folder: the renewal stages the next one, the link tells what becomes of connections."""

    def __init__(self, folder: Path) -> None:
        self.present = folder / PAIR
        self.next = folder / "next.pem"
        self._next_key = folder / "next.key"
        self._shown = self.present
        self._is_taken = False
        self._next_failed = False

    def next_key(self) -> ec.EllipticCurvePrivateKey:
        """Return the key to ask a certificate for; made at the first call after a renewal.

        Raises:
            DiskError: The folder is damaged, or the disk does not take a key.
        """
        key = load_or_make(self._next_key)
        if key.private_numbers() != load_key(self.present).private_numbers():
            return key
        with _keeping("dropping the key that is in use already"):
            self._next_key.unlink()  # a power cut came between the last renewal's rename and this
        return load_or_make(self._next_key)

    def stage(self, key: ec.EllipticCurvePrivateKey, certificate_pem: str) -> None:
        """Keep the next pair, for the next connection to show.

        Raises:
            DiskError: The disk does not take it.
        """
        self._next_failed = False
        with _keeping("keeping the renewed certificate"):
            replace_file(self.next, to_pem(key) + certificate_pem.encode())

    def discard_next(self) -> None:
        """Drop the next pair, but not its key.

        Raises:
            DiskError: The disk does not let it go.
        """
        with _keeping("dropping the renewed certificate"):
            self.next.unlink(missing_ok=True)
            sync_folder(self.next.parent)

    def choose(self) -> Path:
        """Return the pair that the next connection shows: the next one if there is one, in turn with the present."""
        self._is_taken = False
        self._shown = self.next if self.next.exists() and not self._next_failed else self.present
        return self._shown

    def taken(self) -> None:
        """The broker has accepted the connection: what was shown is the device's pair from now on."""
        self._is_taken = True
        try:
            if self._shown == self.next:
                self._take_next()
            elif self._next_failed:
                _log.warning("the broker refused the renewed certificate and took the old one; renewing again later")
                self.discard_next()
        except DiskError as error:  # the connection stands all the same; the next one tries again
            _log.error("%s; %s", error, error.remedy)
        self._next_failed = False

    def _take_next(self) -> None:
        with _keeping("keeping the pair that the broker has taken"):
            self.next.replace(self.present)
            sync_folder(self.present.parent)
            self._shown = self.present
            self._next_key.unlink(missing_ok=True)
        _log.info("the renewed certificate is in use")

    def ended(self) -> None:
        """The connection has ended, or never came to be: then the other pair has its turn."""
        if not self._is_taken:
            self._next_failed = self._shown == self.next


@contextmanager
def _keeping(doing: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DiskError(f"{doing}: {error}", "free some disk space, and check its owner") from error
