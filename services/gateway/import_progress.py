"""What a reader who watches an import is told: its progress, as the directory has it (DEV-1)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any, Protocol

from shared.imports import UNFINISHED


@dataclass(frozen=True, slots=True)
class Progress:
    """An import as it is now, in the shape of the API."""

    shown: dict[str, Any]

    @property
    def is_last(self) -> bool:
        """Nothing more becomes of it."""
        return self.shown["state"] not in UNFINISHED


class Imports(Protocol):
    """What the directory knows of imports."""

    def import_job(self, product_id: int, import_id: str) -> Progress | None: ...

    def on_import(self, callback: Callable[[str], None]) -> Callable[[], None]:
        """Call it in the running loop with the id of each import that moved; the answer ends that."""
        ...


class Watch:
    """Iterates over the progress of one import, the present one first and the last one last. Who reads slowly is told
    less often: only the newest is kept."""

    def __init__(self, directory: Imports, product_id: int, import_id: str, first: Progress) -> None:
        self._directory = directory
        self._product_id = product_id
        self._import_id = import_id
        self._told: Progress | None = None
        self._next: Progress | None = first
        self._moved = asyncio.Event()
        self._forget = directory.on_import(self._on_import)

    def __aiter__(self) -> AsyncIterator[Progress]:
        return self

    async def __anext__(self) -> Progress:
        if self._told is not None and self._told.is_last:
            raise StopAsyncIteration
        while (found := self._next) is None or found == self._told:
            await self._moved.wait()
            self._moved.clear()
            self._next = self._directory.import_job(self._product_id, self._import_id)
        self._told, self._next = found, None
        return found

    def close(self) -> None:
        """Hear nothing more."""
        self._forget()

    def _on_import(self, import_id: str) -> None:
        if import_id == self._import_id:
            self._moved.set()
