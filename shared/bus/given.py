"""A dependency that is made by the ``bootstrap`` and the same for every worker."""

from __future__ import annotations

from typing import Any

from nameko.extensions import DependencyProvider

from shared.errors import Misuse

_NOTHING = object()


class Given(DependencyProvider):  # type: ignore[misc]
    """Gives every worker one and the same object, which must be safe from any thread. Declared without it as a class
    attribute, it must be replaced by one that has it."""

    def __init__(self, thing: Any = _NOTHING) -> None:
        self._thing = thing
        super().__init__()

    def setup(self) -> None:
        if self._thing is _NOTHING:
            raise Misuse(f"{self.attr_name} is made by the service's bootstrap: start the service by that")

    def get_dependency(self, worker_ctx: Any) -> Any:
        return self._thing
