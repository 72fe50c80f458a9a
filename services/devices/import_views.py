"""Views ``imports`` (how far each is) and ``import_problems`` (the lines that were refused). Pure."""

from __future__ import annotations

from collections.abc import Iterable

from shared import imports
from shared.events.devices import ImportAdvanced
from shared.projections.view import Key, Row, View
from shared.store.port import Recorded


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
    version=3,
    key=("import_id",),
    columns=imports.COLUMNS,
    events=imports.EVENTS,
    keys=imports.keys,
    fold=imports.fold,
    indexes=(("state", "started_at"), ("product_id", "started_at", "import_id")),
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
