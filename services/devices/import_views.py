"""Views ``imports`` (how far each is) and ``import_problems`` (the lines that were refused). Pure."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from shared.events.devices import ImportAdvanced, ImportFinished, ImportStarted
from shared.projections.view import Key, Row, View
from shared.store.port import Recorded


def _keys(event: Any) -> Iterable[Key]:
    return ((event.import_id,),)


def fold(row: Row | None, event: Any, recorded: Recorded) -> Row | None:
    """The import after the event."""
    if isinstance(event, ImportStarted):
        return {
            "import_id": event.import_id,
            "product_id": event.product_id,
            "state": "running",
            "lines_total": event.lines_total,
            "lines_done": 0,
            "updated": 0,
            "existing": 0,
            "refused": 0,
            "keys_set": 0,
            "started_at": recorded.at,
        }
    if row is None:
        return None
    counts = {name: getattr(event, name) for name in ("lines_done", "updated", "existing", "refused", "keys_set")}
    return {**row, **counts, "state": "done" if isinstance(event, ImportFinished) else "running"}


def _problem_keys(event: ImportAdvanced) -> Iterable[Key]:
    return ((event.import_id, event.lines_done),) if event.problems else ()


def fold_problems(row: Row | None, event: ImportAdvanced, _: Recorded) -> Row | None:
    """The problems of one stretch of lines; they are the ``first``-th of the import and those behind it."""
    return {
        "import_id": event.import_id,
        "lines_done": event.lines_done,
        "first": event.refused - len(event.problems),
        "problems": [
            {"line": problem.line, "text": problem.text, "code": problem.code, "reason": problem.reason}
            for problem in event.problems
        ],
    }


IMPORTS = View(
    name="imports",
    version=2,
    key=("import_id",),
    columns={
        "import_id": str,
        "product_id": int,
        "state": str,
        "lines_total": int,
        "lines_done": int,
        "updated": int,
        "existing": int,
        "refused": int,
        "keys_set": int,
        "started_at": datetime,
    },
    events=(ImportStarted, ImportAdvanced, ImportFinished),
    keys=_keys,
    fold=fold,
    indexes=(("state", "started_at"),),
)

IMPORT_PROBLEMS = View(
    name="import_problems",
    version=1,
    key=("import_id", "lines_done"),
    columns={"import_id": str, "lines_done": int, "first": int, "problems": list},
    events=(ImportAdvanced,),
    keys=_problem_keys,
    fold=fold_problems,
    indexes=(("import_id", "first"),),
)
"""A row a stretch of lines that had problems, so that a page of them is a few rows."""
