"""``flotilla replay`` on both kinds of platform, and the wishes by which the embedded one is asked."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, nullcontext
from pathlib import Path
from typing import Any

import msgspec
import pytest
from nameko.events import event_handler
from typer.testing import CliRunner, Result

from deploy import composition, wishes
from deploy.messages_command import app as messages
from deploy.messages_command import parked_folder, resender
from deploy.replay_command import app
from deploy.replays import Answer, Order, grant, replayer, replays_folder
from deploy.running import DataFolder, Process
from deploy.wishes import Wish, Wishes
from shared.bus.host import ServiceHost
from shared.bus.lanes import Retry
from shared.bus.open import open_transport
from shared.bus.reactions import reaction
from shared.context import Context
from shared.errors import FlotillaError, NotFound, Refused, Unavailable
from shared.events.contracts import CONTRACTS
from shared.events.devices import DeviceLocked
from shared.settings import Settings
from shared.store.open import open_store
from shared.store.port import ANY, EventStore, Only, Page, Position
from tests.shared.projections.fleet import wait_until

QUICK = Retry(tries=2, first_s=0.01, most_s=0.02)
PID = 1
"""A process that exists wherever a test runs."""


class World:
    """A data folder with ten events, and a service that hears of them."""

    def __init__(self, folder: Path, bus: str, stack: ExitStack) -> None:
        self.settings = Settings.load({}, data=folder, bus=bus)
        self.handled: list[int] = []
        self.told: list[int] = []
        self.broken = threading.Event()
        self.store = open_store(self.settings.store)
        stack.callback(self.store.close)
        for number in range(10):
            event = DeviceLocked("0" * 24, 1000, number, flash=False)
            self.store.append("device-0", ANY, [CONTRACTS.encode(event, number, Context.new("account:x", "test"))])
        parked = parked_folder(self.settings)
        self.transport = open_transport(f"local:{parked}" if bus == "local:" else bus, name="test")
        parts: list[Any] = [self.transport, ServiceHost(self._service(), self.transport, retry=QUICK)]
        if bus == "local:":
            classes = composition.by_name()
            parts.append(resender(self.transport, parked))
            parts.append(replayer(self.store, self.transport, replays_folder(self.settings), classes))
            DataFolder(folder).announce(Process("flotilla", PID))
        for part in parts:
            part.start()
            stack.callback(part.stop)

    def run(self, *arguments: str, tool: Any = app) -> Result:
        environment = {"COLUMNS": "300"}
        if self.settings.bus != "local:":
            environment["FLOTILLA_BUS"] = self.settings.bus
        return CliRunner(env=environment).invoke(tool, [*arguments, "--data", str(self.settings.data)])

    def wait_for(self, count: int) -> list[int]:
        wait_until(lambda: len(self.handled) >= count)
        return self.handled

    def _service(self) -> type:
        world = self

        class Alerts:
            name = "alerts"

            @event_handler("devices", "DeviceLocked")  # type: ignore[untyped-decorator]
            def note(self, message: dict[str, Any]) -> None:
                if world.broken.is_set():
                    raise RuntimeError("it cannot be taken yet")
                world.handled.append(message["data"]["version"])

            @reaction("mail")
            @event_handler("devices", "DeviceLocked")  # type: ignore[untyped-decorator]
            def tell(self, message: dict[str, Any]) -> None:
                world.told.append(message["data"]["version"])

        return Alerts


@pytest.fixture(params=["embedded", pytest.param("distributed", marks=pytest.mark.broker)])
def world(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    bus = "local:" if request.param == "embedded" else request.getfixturevalue("rabbitmq").add_vhost(tmp_path.name)
    known: dict[str, type] = {}
    monkeypatch.setattr(composition, "by_name", lambda: known)
    monkeypatch.setattr(World, "_service", _remembered(World._service, known))
    with ExitStack() as stack:
        yield World(tmp_path, bus, stack)


def _remembered(make: Callable[[World], type], known: dict[str, type]) -> Callable[[World], type]:
    def made(world: World) -> type:
        service = make(world)
        known["alerts"] = service
        return service

    return made


def test_a_range_is_replayed_to_a_service_and_its_reactions_are_left_out_unless_named(world: World) -> None:
    positions = [event.position for event in world.store.read("device-0")]
    shown = world.run("service", "alerts", "--from", str(positions[2]), "--to", str(positions[6]))
    assert shown.exit_code == 0, shown.output
    assert world.wait_for(5) == [2, 3, 4, 5, 6]
    assert "left out" in shown.output
    assert "--with mail" in shown.output
    assert "note: 5 sent" in shown.output
    assert world.told == []
    again = world.run("service", "alerts", "--with", "mail", "--handler", "tell", "--since", "2020-01-01T00:00:00Z")
    assert "tell: 10 sent" in again.output
    assert wait_until(lambda: len(world.told) == 10)
    assert world.told == list(range(10))
    assert world.handled == [2, 3, 4, 5, 6]


def test_a_dry_run_counts_and_sends_nothing(world: World) -> None:
    shown = world.run("service", "alerts", "--dry-run")
    assert "note: 10 would be sent" in shown.output
    assert world.handled == []


REFUSED = (
    (["nobody"], "unknown_service"),
    (["alerts", "--handler", "nothing"], "nothing_to_replay"),
    (["alerts", "--from", "1000000"], "nothing_to_replay"),
    (["alerts", "--until", "2020-01-01T00:00:00Z"], "nothing_to_replay"),
    (["alerts", "--since", "2026-05-04T12:00:00"], "invalid_request"),
    (["alerts", "--since", "7"], "invalid_request"),
)


def test_what_cannot_be_replayed_is_refused_with_a_sentence(world: World) -> None:
    for arguments, code in REFUSED:
        done = world.run("service", *arguments)
        assert isinstance(done.exception, Refused), arguments
        assert done.exception.code == code
    assert world.handled == []


def test_a_replayed_event_that_no_handler_can_take_is_listed_with_its_position_and_sent_again_after_the_repair(
    world: World,
) -> None:
    position = world.store.read("device-0")[4].position
    world.broken.set()
    done = world.run("service", "alerts", "--from", str(position), "--to", str(position))
    assert done.exit_code == 0, done.output
    assert wait_until(lambda: "it cannot be taken yet" in world.run("list", tool=messages).output)
    listed = world.run("list", tool=messages).output
    for part in ("alerts.note", str(position), "RuntimeError: it cannot be taken yet", "(replayed at 20"):
        assert part in listed
    world.broken.clear()
    parked_id = next(line.split()[1] for line in listed.splitlines() if "alerts.note" in line)
    assert world.run("resend", parked_id, tool=messages).exit_code == 0
    assert world.wait_for(1) == [4]


def test_without_a_running_platform_an_embedded_replay_says_so(tmp_path: Path) -> None:
    store = open_store(Settings.load({}, data=tmp_path).store)
    store.append("device-0", ANY, [CONTRACTS.encode(_gateway_event(), 0, Context.new("account:x", "test"))])
    store.close()
    done = CliRunner().invoke(app, ["service", "devices", "--data", str(tmp_path)])
    assert isinstance(done.exception, Refused)
    assert done.exception.code == "not_running"
    assert "flotilla run" in done.exception.reason


class Interrupted:
    """A store of three events a page; behind the first page something happens."""

    def __init__(self, store: EventStore, happens: Callable[[], object]) -> None:
        self._store = store
        self._happens = happens

    def read_all(self, after: Position | None, limit: int, only: Only) -> Page:
        if after is not None:
            self._happens()
        return self._store.read_all(after, 3, only)


class Bug(Exception):
    """A fault of ours."""


@pytest.mark.parametrize("is_bug", [False, True])
def test_an_embedded_replay_that_ends_early_says_so_and_how_far_it_was(tmp_path: Path, is_bug: bool) -> None:
    def bug() -> None:
        raise Bug

    stopping, known = threading.Event(), dict[str, type]()
    with ExitStack() as stack, pytest.MonkeyPatch.context() as patch:
        patch.setattr(World, "_service", _remembered(World._service, known))
        world = World(tmp_path / "data", "local:", stack)
        wishes.ask(tmp_path, "one", msgspec.json.encode(Order("alerts", [], ["note"], [], until=10)))
        (tmp_path / wishes.ANSWERS).mkdir()
        store: Any = Interrupted(world.store, bug if is_bug else stopping.set)
        with pytest.raises(Bug) if is_bug else nullcontext():
            grant(store, world.transport, known, Wish(tmp_path / "one", stopping))
    answer = msgspec.json.decode(wishes.answer(tmp_path, "one") or b"", type=Answer)
    assert answer.is_over
    assert ("fault of the platform" if is_bug else "stopped before all was sent") in answer.error
    assert answer.events == answer.position == 3


def _gateway_event() -> Any:
    return DeviceLocked("0" * 24, 1000, 1, flash=False)


def test_a_view_that_there_is_not_is_not_found(tmp_path: Path) -> None:
    store = open_store(Settings.load({}, data=tmp_path).store)
    store.append("device-0", ANY, [CONTRACTS.encode(_gateway_event(), 0, Context.new("account:x", "test"))])
    store.close()
    missing = CliRunner().invoke(app, ["view", "nothing", "--data", str(tmp_path)])
    assert isinstance(missing.exception, NotFound)
    shown = CliRunner().invoke(app, ["view", "fleet", "--data", str(tmp_path)])
    assert shown.exit_code == 0, shown.exception
    assert "events touch" in shown.output


# wishes


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "wishes"


def granted(folder: Path, grant: Callable[[Wish], None], *, keep: bool) -> Wishes:
    part = Wishes("test", folder, grant, keep=keep)
    part.start()
    return part


def test_a_wish_is_granted_once_and_its_answer_is_seen(folder: Path) -> None:
    over = threading.Event()
    seen: list[bytes] = []

    def grant(wish: Wish) -> None:
        seen.append(wish.content)
        wish.tell(b"done " + wish.name.encode())
        over.set()

    part = granted(folder, grant, keep=False)
    wishes.ask(folder, "one", b"please")
    assert over.wait(10)
    assert wishes.answer(folder, "one") == b"done one"
    wishes.withdraw(folder, "one")
    assert wishes.answer(folder, "one") is None
    part.stop()
    assert seen == [b"please"]


def test_a_wish_that_fails_does_not_keep_the_next_from_being_granted(folder: Path) -> None:
    over = threading.Event()

    def grant(wish: Wish) -> None:
        if wish.name == "a":
            raise Unavailable("not now")
        if wish.name == "b":
            raise RuntimeError("a bug")
        over.set()

    part = granted(folder, grant, keep=False)
    for name in ("a", "b", "c"):
        wishes.ask(folder, name)
    assert over.wait(10)
    part.stop()
    part.start()
    part.stop()
    assert issubclass(Unavailable, FlotillaError)


@pytest.mark.parametrize("keep", [True, False])
def test_a_wish_of_before_the_start_is_granted_or_forgotten(folder: Path, keep: bool) -> None:
    over = threading.Event()
    names: list[str] = []

    def grant(wish: Wish) -> None:
        names.append(wish.name)
        over.set()

    wishes.ask(folder, "early")
    part = granted(folder, grant, keep=keep)
    if not keep:
        wishes.ask(folder, "late")
    assert over.wait(10)
    part.stop()
    assert names == (["early"] if keep else ["late"])


def test_a_withdrawn_wish_is_not_wanted(folder: Path) -> None:
    wishes.ask(folder, "one")
    wish = Wish(folder / "one", threading.Event())
    assert wish.is_wanted
    wishes.withdraw(folder, "one")
    assert not wish.is_wanted
