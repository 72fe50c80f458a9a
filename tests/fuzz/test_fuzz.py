"""A bounded run over every codec and machine, the inputs of mistakes that were made once, and the harness itself."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from random import Random

import pytest

from shared.errors import Refused
from tests.fuzz import harness
from tests.fuzz.all_targets import TARGETS
from tests.fuzz.harness import Finding, attempt, input_of, judged, read, shrunk, traced
from tests.fuzz.mutators import MOST_STEP_BYTES, MOST_STEPS, Steps, mutated
from tests.fuzz.sizes import size_of
from tests.fuzz.targets import Kept, Target

SEED = 20_260_101
pytestmark = pytest.mark.filterwarnings("ignore:Parsed a serial number")  # which the code goes on to refuse
CORPUS = sorted((Path(__file__).parent / "corpus").glob("*.hex"))
BY_NAME = {target.name: target for target in TARGETS}


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize("name", BY_NAME)
def test_whatever_comes_is_taken_or_refused_within_bounds(name: str) -> None:
    target = BY_NAME[name]
    for number in range(len(target.seeds) + target.tested):
        finding = attempt(target, SEED, number)
        assert finding is None, shrunk(target, finding).text(f"seed {SEED}, input {number}")


@pytest.mark.parametrize("name", BY_NAME)
def test_some_real_input_is_taken(name: str) -> None:
    target = BY_NAME[name]
    taken = 0
    for steps in target.seeds:
        try:
            target.play(steps)
        except target.refuses:
            continue
        taken += 1
    assert taken


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.stem)
def test_what_was_a_mistake_once_is_none_any_more(path: Path) -> None:
    name, steps = read(path)
    assert judged(BY_NAME[name], steps) is None
    assert traced(BY_NAME[name], steps) is None


# -- the harness --------------------------------------------------------------------------------------------------


def planted(steps: Steps) -> object:
    """Makes every mistake there is."""
    data = b"".join(steps)
    if b"refuse" in data:
        raise Refused("no", "It is refused.")
    if b"crash" in data:
        raise ZeroDivisionError
    if b"hang" in data:
        for _ in count():
            continue
    if b"peak" in data:
        return len(bytes(40_000_000))
    return [bytes(100_000)] if b"hold" in data else None


PLANTED = Target("planted", planted, ((b"one", b"two three"),), (Refused,))


@pytest.mark.parametrize(
    ("said", "kind"),
    [(b"crash", "ZeroDivisionError at test_fuzz.py"), (b"hang", "too slow"), (b"hold", "too much held")],
)
def test_mistakes_are_found(monkeypatch: pytest.MonkeyPatch, said: bytes, kind: str) -> None:
    monkeypatch.setattr(harness, "SLOWEST_CPU_S", 0.05)
    found = judged(PLANTED, (said,))
    assert found is not None
    assert found.kind.startswith(kind)
    assert found.steps == (said,)


def test_memory_that_is_needed_in_between_is_found() -> None:
    found = traced(PLANTED, (b"peak",))
    assert found is not None
    assert found.kind == "peak"
    assert traced(PLANTED, (b"nothing",)) is None


def test_refusals_are_none() -> None:
    assert judged(PLANTED, (b"refuse",)) is None
    assert judged(PLANTED, (b"anything",)) is None


def test_a_finding_becomes_small_and_is_kept_in_a_file(tmp_path: Path) -> None:
    found = judged(PLANTED, (b"a lot", b"that does not", b"", b"matter before it may crash, or after" * 3))
    assert found is not None
    small = shrunk(PLANTED, found)
    assert small.steps == (b"crash",)
    kept = Finding("planted", "kind", "two\nlines", (b"", b"\x00\xff", b""))
    path = tmp_path / kept.file_name
    path.write_text(kept.text("seed 1"), encoding="utf-8")
    assert read(path) == ("planted", kept.steps)


def test_the_same_seed_makes_the_same_inputs_and_another_makes_others() -> None:
    target = BY_NAME["mqtt-session"]
    first = [input_of(target, 1, number) for number in range(80)]
    assert first == [input_of(target, 1, number) for number in range(80)]
    assert first[: len(target.seeds)] == list(target.seeds)
    assert first[len(target.seeds) :] != [input_of(target, 2, number) for number in range(len(target.seeds), 80)]


def test_inputs_are_bounded() -> None:
    random = Random(1)
    for _ in range(3_000):
        steps = mutated(BY_NAME["mqtt-session"].seeds, random)
        assert 0 < len(steps) <= MOST_STEPS
        assert all(len(step) <= MOST_STEP_BYTES for step in steps)


def test_what_is_shared_is_not_weighed() -> None:
    shared = [bytes(1_000_000)]
    assert size_of([shared, b"own"]) > 1_000_000
    assert size_of([shared, b"own"], [shared]) < 1_000
    assert size_of([shared, shared]) < 1_100_000
    heavy = Target("heavy", lambda steps: Kept([shared], (shared,)), ((b"",),))
    assert judged(heavy, (b"",)) is None
