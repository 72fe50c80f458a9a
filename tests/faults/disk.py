"""A disk that can be full: a small file system of its own where mounting is allowed, else a limit to files' sizes."""

from __future__ import annotations

import resource
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Protocol

SIZE = "256m"
BALLAST = "ballast"
CHUNK_BYTES = 4_096
LARGEST_FILE_BYTES = 4_096


class Disk(Protocol):
    """``fill`` it and ``make_room`` again."""

    how: str

    def fill(self) -> None: ...

    def make_room(self) -> None: ...


class SmallDisk:
    """A file system in memory, filled by a file."""

    how = f"a file system of {SIZE}"

    def __init__(self, folder: Path) -> None:
        self._ballast = folder / BALLAST

    def fill(self) -> None:
        with self._ballast.open("wb", buffering=0) as ballast, suppress(OSError):  # no space left: that is the end
            while ballast.write(bytes(CHUNK_BYTES)):
                pass

    def make_room(self) -> None:
        self._ballast.unlink()


class SmallFiles:
    """No file of the process may grow beyond ``LARGEST_FILE_BYTES``."""

    how = f"files of at most {LARGEST_FILE_BYTES} bytes, because nothing may be mounted here"

    def __init__(self, pid: Callable[[], int]) -> None:
        self._pid = pid

    def fill(self) -> None:
        _, most = resource.prlimit(self._pid(), resource.RLIMIT_FSIZE)
        resource.prlimit(self._pid(), resource.RLIMIT_FSIZE, (LARGEST_FILE_BYTES, most))

    def make_room(self) -> None:
        _, most = resource.prlimit(self._pid(), resource.RLIMIT_FSIZE)
        resource.prlimit(self._pid(), resource.RLIMIT_FSIZE, (most, most))


@contextmanager
def limited(folder: Path, pid: Callable[[], int]) -> Iterator[Disk]:
    """A disk under this empty folder, or something that is as good for the process with this id."""
    mounted = shutil.which("mount") and not subprocess.call(
        ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(folder)], stderr=subprocess.DEVNULL
    )
    if not mounted:
        yield SmallFiles(pid)
        return
    try:
        yield SmallDisk(folder)
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
