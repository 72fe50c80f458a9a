import pytest

from shared.runtime import Runtime


class Noted:
    def __init__(self, name: str, notes: list[str], *, fails_at: str = "") -> None:
        self.name = name
        self._notes = notes
        self._fails_at = fails_at

    def _do(self, word: str) -> None:
        self._notes.append(f"{word} {self.name}")
        if word == self._fails_at:
            raise RuntimeError(self.name)

    def start(self) -> None:
        self._do("start")

    def stop(self) -> None:
        self._do("stop")


def test_parts_start_in_order_and_stop_in_reverse() -> None:
    notes: list[str] = []
    runtime = Runtime("r", [Noted("a", notes), Noted("b", notes)])
    runtime.start()
    runtime.stop()
    runtime.stop()
    assert notes == ["start a", "start b", "stop b", "stop a"]


def test_a_part_that_cannot_start_stops_those_before_it() -> None:
    notes: list[str] = []
    runtime = Runtime("r", [Noted("a", notes), Noted("b", notes, fails_at="start"), Noted("c", notes)])
    with pytest.raises(RuntimeError, match="b"):
        runtime.start()
    assert notes == ["start a", "start b", "stop a"]


def test_a_part_that_cannot_stop_leaves_nobody_running(caplog: pytest.LogCaptureFixture) -> None:
    notes: list[str] = []
    runtime = Runtime("r", [Noted("a", notes), Noted("b", notes, fails_at="stop")])
    runtime.start()
    runtime.stop()
    assert notes == ["start a", "start b", "stop b", "stop a"]
    assert "b did not stop in order" in caplog.text
