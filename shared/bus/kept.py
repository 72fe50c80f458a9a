"""Parked messages of the bus in one process: in memory, and as a JSON file each if there is a folder for them."""

from __future__ import annotations

import base64
import json
import os
import threading
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from shared.bus.queue_kinds import MAX_PARKED
from shared.bus.transport import ParkedMessage
from shared.bus.wire import Message
from shared.errors import NotFound, Unavailable


class KeptMessages:
    """In the order in which they were parked. Raises ``OSError`` as the folder's file system does."""

    def __init__(self, folder: Path | None, *, limit: int = MAX_PARKED) -> None:
        self._folder = folder
        self._limit = limit
        self._lock = threading.Lock()
        self._messages: dict[str, ParkedMessage] = {}
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            found = [_from_json(json.loads(path.read_text())) for path in folder.glob("*.json")]
            self._messages = {message.id: message for message in sorted(found, key=lambda message: message.at)}

    def __len__(self) -> int:
        return len(self._messages)

    def add(self, message: ParkedMessage) -> None:
        """Keep it. Raises ``Unavailable`` when there are too many."""
        with self._lock:
            if len(self._messages) >= self._limit:
                raise Unavailable(f"{self._limit} messages are parked already")
            if self._folder is not None:
                _write(self._folder / f"{message.id}.json", json.dumps(_to_json(message)))
            self._messages[message.id] = message

    def first(self, limit: int) -> list[ParkedMessage]:
        """The oldest ones."""
        with self._lock:
            return list(self._messages.values())[:limit]

    def get(self, parked_id: str) -> ParkedMessage:
        """Raises ``NotFound``."""
        try:
            return self._messages[parked_id]
        except KeyError:
            raise NotFound(f"No parked message {parked_id}.") from None

    def remove(self, parked_id: str) -> None:
        """Raises ``NotFound``."""
        with self._lock:
            self.get(parked_id)
            if self._folder is not None:
                (self._folder / f"{parked_id}.json").unlink(missing_ok=True)
            del self._messages[parked_id]


def _write(path: Path, text: str) -> None:
    unfinished = path.with_suffix(".tmp")
    with unfinished.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)


def _to_json(message: ParkedMessage) -> dict[str, Any]:
    original = message.original
    return {
        "id": message.id,
        "queue": message.queue,
        "handler": message.handler,
        "error": message.error,
        "at": message.at.isoformat(),
        "body": base64.b64encode(original.body).decode(),
        "exchange": original.exchange,
        "routing_key": original.routing_key,
        "headers": dict(original.headers),
        "content_type": original.content_type,
        "content_encoding": original.content_encoding,
        "correlation_id": original.correlation_id,
    }


def _from_json(data: dict[str, Any]) -> ParkedMessage:
    original = Message(
        base64.b64decode(data["body"]),
        data["exchange"],
        data["routing_key"],
        data["headers"],
        data["content_type"],
        data["content_encoding"],
        data["correlation_id"],
    )
    parked = ParkedMessage(
        data["id"], data["queue"], data["handler"], data["error"], datetime.fromisoformat(data["at"]), "", original
    )
    return replace(parked, message=original.body.decode(errors="replace"))
