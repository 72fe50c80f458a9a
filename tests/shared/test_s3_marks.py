"""Whoever was told that a blob is stored finds it, in whichever order writer and remover come to their steps."""

from __future__ import annotations

import itertools
import threading
from collections import deque
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any

import obstore
import pytest
from obstore.store import MemoryStore

import shared.s3_blobs
from shared.s3_blobs import S3Blobs

DATA = b"kettle"
STEPS = 7
"""Four of the remover and three of the writer; behind them each goes on as it comes."""


class Turns:
    """Lets two threads do one operation on the store at a time, in a given order as long as both run."""

    def __init__(self, order: Iterable[str]) -> None:
        self._order = deque(order)
        self._running = {"writer", "remover"}
        self._moved = threading.Condition()

    def __getattr__(self, name: str) -> Callable[..., Any]:
        operation = getattr(obstore, name)

        def in_turn(*arguments: Any, **options: Any) -> Any:
            me = threading.current_thread().name
            with self._moved:
                assert self._moved.wait_for(lambda: self._is_next(me), 10)
                if self._order:
                    self._order.popleft()
                try:
                    return operation(*arguments, **options)
                finally:
                    self._moved.notify_all()

        return in_turn

    def _is_next(self, me: str) -> bool:
        while self._order and self._order[0] not in self._running:
            self._order.popleft()
        return not self._order or self._order[0] == me

    def run(self, work: Callable[[], object]) -> None:
        try:
            work()
        finally:
            with self._moved:
                self._running.discard(threading.current_thread().name)
                self._moved.notify_all()


def removed_in(order: Iterable[str], monkeypatch: pytest.MonkeyPatch) -> bool:
    """Both do their work in this order; whether the remover took the old blob away. It is there afterwards."""
    blobs = S3Blobs(MemoryStore())  # type: ignore[arg-type]  # as consistent as S3, and in no network
    digest = blobs.put([DATA]).sha256
    moment = datetime.now(UTC)
    turns, gone = Turns(order), list[bool]()
    works = {"writer": lambda: blobs.put([DATA]), "remover": lambda: gone.append(blobs.remove(digest, moment))}
    threads = [threading.Thread(target=turns.run, args=[work], name=name) for name, work in works.items()]
    with monkeypatch.context() as patch:
        patch.setattr(shared.s3_blobs, "obstore", turns)
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert blobs.read(digest, 0, 10) == DATA, order
    return gone[0]


def test_in_no_order_of_their_steps_is_a_stored_blob_gone(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(shared.s3_blobs, "MARK_PAUSE_S", 0)
    orders = list(itertools.product(("writer", "remover"), repeat=STEPS))
    removed = [removed_in(order, monkeypatch) for order in orders]
    assert {*removed} == {True, False}  # the old one was removed, or spared because it was stored again
