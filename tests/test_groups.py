from __future__ import annotations

import socket
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.groups import FOLDER, UNIT, Guard, Touched, group_of
from tests.import_rules import _imports

OF_THE_WORLD = {"asyncio", "concurrent", "multiprocessing", "socket", "sqlite3", "subprocess", "tempfile", "threading"}


def test_every_unit_test_is_there_and_imports_nothing_that_runs_beside_it() -> None:
    for name in UNIT:
        tops = {module.split(".")[0] for module in _imports(FOLDER / name)}
        assert tops.isdisjoint(OF_THE_WORLD), name


def test_marks_go_before_modules() -> None:
    assert group_of(FOLDER / UNIT[0], {"parametrize"}) == "unit"
    assert group_of(FOLDER / UNIT[0], {"broker"}) == "broker"
    assert group_of(FOLDER / UNIT[0], {"broker", "postgres"}) == "broker"
    assert group_of(FOLDER / "faults" / "test_of_a_fault.py", {"whole"}) == "whole"
    assert group_of(FOLDER / "faults" / "test_of_a_fault.py", {"faults"}) == "faults"
    assert group_of(FOLDER / "faults" / "test_of_a_fault.py", set()) == "io"


@pytest.mark.parametrize(
    "touch", [socket.socket, lambda: sqlite3.connect(":memory:"), lambda: Path("written").write_text("")]
)
def test_a_unit_test_that_touches_the_world_fails(touch: Callable[[], object]) -> None:
    guard = Guard()
    guard.closed = True
    with pytest.raises(Touched, match="move it to a module of the group io"):
        touch()
    assert not guard.closed
