"""What a command asks of the embedded platform, by files: a wish in a folder of its data, and what came of it beside.

There is no broker to ask through, and no port that only an operator may use; whoever may write into the data folder
may wish. A wish is a file with its name and content; answers are in ``answers/<name>``, the newest replacing the one
before; taking the file away withdraws the wish.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from shared.errors import FlotillaError

log = logging.getLogger(__name__)

LOOK_S = 0.5
STOP_S = 10.0
MAX_BYTES = 65_536
ANSWERS = "answers"


@dataclass(frozen=True, slots=True)
class Wish:
    """One wish, in the hands of the platform."""

    path: Path
    stopping: threading.Event

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def content(self) -> bytes:
        """At most ``MAX_BYTES`` of it."""
        with self.path.open("rb") as file:
            return file.read(MAX_BYTES)

    @property
    def is_wanted(self) -> bool:
        """Neither withdrawn nor the platform about to stop."""
        return not self.stopping.is_set() and self.path.exists()

    def tell(self, answer: bytes) -> None:
        """Show this as what has come of it; whole at any moment."""
        _write(self.path.parent / ANSWERS / self.name, answer)


class Wishes:
    """A part of the embedded platform that grants the wishes in a folder, one after the other. Those that ``keep`` are
    granted after the next start if nothing ran when they were made; others are forgotten then."""

    def __init__(self, name: str, folder: Path, grant: Callable[[Wish], None], *, keep: bool) -> None:
        self.name = name
        self._folder = folder
        self._grant = grant
        self._keep = keep
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to look."""
        (self._folder / ANSWERS).mkdir(parents=True, exist_ok=True)
        old = [*(self._folder / ANSWERS).iterdir(), *([] if self._keep else self._waiting())]
        for path in old:
            path.unlink(missing_ok=True)
        self._stopping.clear()
        self._thread = threading.Thread(target=self._look, name=self.name, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Look no more."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(timeout=STOP_S)
            self._thread = None

    def _waiting(self) -> list[Path]:
        return sorted(path for path in self._folder.iterdir() if path.is_file() and not path.name.startswith("."))

    def _look(self) -> None:
        while not self._stopping.wait(LOOK_S):
            for path in self._waiting():
                self._take(Wish(path, self._stopping))

    def _take(self, wish: Wish) -> None:
        try:
            self._grant(wish)
        except FlotillaError as problem:
            log.warning("%s: %s: %s", self.name, wish.name, problem)
        except Exception:
            log.exception("%s: %s could not be granted", self.name, wish.name)
        wish.path.unlink(missing_ok=True)


def ask(folder: Path, name: str, content: bytes = b"") -> None:
    """Wish for something; whole when it is seen."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / ANSWERS / name).unlink(missing_ok=True)
    _write(folder / name, content)


def answer(folder: Path, name: str) -> bytes | None:
    """What has come of a wish so far; None if nothing has been said yet."""
    try:
        return (folder / ANSWERS / name).read_bytes()
    except FileNotFoundError:
        return None


def withdraw(folder: Path, name: str) -> None:
    """Wish no longer, and forget what came of it."""
    (folder / name).unlink(missing_ok=True)
    (folder / ANSWERS / name).unlink(missing_ok=True)


def _write(path: Path, content: bytes) -> None:
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.write_bytes(content)
    draft.replace(path)
