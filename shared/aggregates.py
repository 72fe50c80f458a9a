"""What an aggregate is: the pure parts of one kind of stream. ``shared.streams`` runs commands on it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

State = TypeVar("State")
Command = TypeVar("Command")


@dataclass(frozen=True, slots=True)
class Aggregate(Generic[State, Command]):
    """``decide`` refuses or says what happens (nothing, if the command is already true); ``evolve`` cannot fail."""

    initial: State
    decide: Callable[[State, Command], Sequence[object]]
    evolve: Callable[[State, Any], State]
