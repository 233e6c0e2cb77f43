"""The plain file of an encrypted variant, in memory for as long as a runtime reads it, and never on a disk."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from shoal_agent.errors import ArtifactError, DiskError
from shoal_contract.encryption import CHUNK_BYTES, TAG_BYTES, decrypt_chunks
from shoal_contract.errors import EncryptionError
from shoal_contract.manifest import Variant

_SEALS = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL


@contextmanager
def plain_file(sealed: Path, variant: Variant, version_key: bytes, *, is_known: bool = False) -> Iterator[Path]:
    """Decrypt a variant's file into anonymous memory and yield a path under which this process opens it.

    It takes the plain file's size once, whatever the runtime makes of it: one that maps the file keeps these very
    pages, one that copies it lets them go at the end of the block.

    Args:
        sealed: The ciphertext in the store.
        variant: Names size and hash of the plain file, which is checked before the block begins.
        version_key: The version's key.
        is_known: Whether the stored file has come out right before, see `decrypt_chunks`. Its slot says so, on the same
            disk; whoever could put another file there, made with the version's key, could as well change the slot.

    Raises:
        ArtifactError: It does not open, or is not the file that the manifest names.
        DiskError: It can not be read, or memory is out.
    """
    doing, named = f"decrypting {sealed.name[:12]}", (variant.sha256, variant.size_bytes)
    try:
        descriptor = os.memfd_create("shoal-model", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    except OSError as error:
        raise DiskError(f"{doing}: {error}", "free some memory on the device") from error
    try:
        _fill(descriptor, decrypt_chunks(_chunks(sealed), version_key, *named, is_known=is_known), doing)
        yield Path(f"/proc/self/fd/{descriptor}")
    finally:
        os.close(descriptor)


def _fill(descriptor: int, plain: Iterator[bytes], doing: str) -> None:
    try:
        for chunk in plain:
            _write(descriptor, chunk)
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, _SEALS)  # what was checked is what will be read
    except EncryptionError as error:
        remedy = "roll the version out again; if it lasts, register it anew"
        raise ArtifactError(f"{doing}: {error}", remedy) from error
    except OSError as error:
        raise DiskError(f"{doing}: {error}", "check the data folder's disk, and the memory that is free") from error


def _chunks(sealed: Path) -> Iterator[bytes]:
    with sealed.open("rb") as file:
        yield from iter(partial(file.read, CHUNK_BYTES + TAG_BYTES), b"")


def _write(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
