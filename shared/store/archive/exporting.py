"""An archive in a file, which an interrupted export leaves so that the next one goes on with it."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import msgspec

from shared.errors import Refused
from shared.store.archive.lines import End, Header
from shared.store.archive.scanning import Place
from shared.store.archive.writing import Told, begun, check_same, export
from shared.store.carrying import Carrying


def fixed(asked: Header, store: Carrying) -> Header:
    """What is asked for with its end: the store's last position at this moment, unless it says another. Raises
    ``Refused`` for an end behind that."""
    head = store.head()
    if asked.until is None:
        return msgspec.structs.replace(asked, until=head)
    if head is None or asked.until > head:
        raise Refused("no_such_position", f"the store's last position is {head}, and --to is {asked.until}")
    return asked


def export_file(
    path: Path, asked: Header, store: Carrying, *, goes_on: Callable[[Place], None], told: Told
) -> tuple[Header, End]:
    """Write the archive, readable by its owner alone, or go on with the unfinished one that is there (``goes_on`` is
    told from where). Raises ``Refused``: ``bad_archive``, ``export_finished``, ``other_export``, ``file_in_use``."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    with open(descriptor, "r+b") as file:
        _lock(file, path)
        place = begun(file, path)
        if place is None:
            header = fixed(asked, store)
        else:
            _check_asked(path, asked, place.header)
            check_same(store, place)
            header = place.header
            goes_on(place)
        file.seek(place.size_bytes if place else 0)
        file.truncate()
        end = export(store, header, file, place=place, told=told)
        os.fsync(descriptor)
    return header, end


def _lock(file: BinaryIO, path: Path) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise Refused("file_in_use", f"another export is writing to {path}") from None


def _check_asked(path: Path, asked: Header, header: Header) -> None:
    """What is given must be the same; what is not given is what was given then."""
    pairs = [
        ("--type", sorted(asked.types), sorted(header.types)),
        ("--stream", sorted(asked.streams), sorted(header.streams)),
        ("--from", asked.since, header.since),
        ("--to", asked.until, header.until),
    ]
    for name, now, then in pairs:
        if now and now != then:
            reason = f"{path} was begun with {name} {then or 'not given'}; name another file or leave {name} out"
            raise Refused("other_export", reason)
