"""A service for nameko's own runtime, which knows nothing of ours but the error classes; run by ``nameko run``."""

from __future__ import annotations

import os
from collections import deque
from typing import Any

from nameko.contextdata import ContextDataProvider
from nameko.events import EventDispatcher, event_handler
from nameko.exceptions import RemoteError
from nameko.rpc import ServiceRpc, rpc

import shared.bus.errors  # noqa: F401 - registers the classes with nameko
from shared.errors import Conflict, Refused

SUFFIX = os.environ["STOCK_SUFFIX"]
heard: deque[Any] = deque(maxlen=1_000)


class Actor(ContextDataProvider):
    context_key = "actor"


class StockService:
    name = f"stock_{SUFFIX}"

    ours = ServiceRpc(f"ours_{SUFFIX}")
    dispatch = EventDispatcher()
    actor = Actor()

    @rpc
    def echo(self, value: Any) -> Any:
        return value

    @rpc
    def whoami(self) -> str:
        return self.actor

    @rpc
    def refuse(self) -> None:
        raise Refused("no_such_plan", "There is no such plan.", "{}")

    @rpc
    def fail(self) -> None:
        raise KeyError("lost")

    @rpc
    def ask(self, question: str, given: dict[str, Any]) -> Any:
        try:
            return {"result": getattr(self.ours, question)(**given)}
        except (Refused, Conflict) as problem:
            return {"class": type(problem).__name__, "args": list(problem.args), "code": getattr(problem, "code", "")}
        except RemoteError as problem:
            return {"class": problem.exc_type, "args": [problem.value], "code": ""}

    @rpc
    def announce(self, data: Any) -> None:
        self.dispatch("announced", data)

    @event_handler(f"ours_{SUFFIX}", "Happened")
    def on_happened(self, data: Any) -> None:
        heard.append([data, self.actor])

    @rpc
    def heard(self) -> list[Any]:
        return list(heard)
