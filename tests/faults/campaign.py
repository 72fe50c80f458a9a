"""``python -m tests.faults.campaign embedded|rabbitmq|cluster``: faults one after the other under one load, with a
verdict after each; ends with 1 if any verdict finds a fault of ours.

``--seed`` (``FLOTILLA_TEST_SEED``) chooses the points in time, ``--seconds`` (``FLOTILLA_TEST_FAULT_SECONDS``, 30) how
long something is away. Modes: one process on SQLite; RabbitMQ with SQLite; RabbitMQ, EventStoreDB and PostgreSQL.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path
from typing import get_args
from urllib.parse import urlsplit

import httpx

from deploy.api import Api, ApiError
from deploy.postgres import PostgresServer
from deploy.postgres import ensure_installed as ensure_postgres
from deploy.process import end_with_parent
from deploy.rabbitmq import RabbitNode
from deploy.rabbitmq import ensure_installed as ensure_rabbitmq
from shared.errors import Unavailable
from shared.events.metadata import metadata
from shared.people.open import open_contracts
from shared.store.open import open_store
from shared.store.port import Recorded
from tests.eventstore import any_event_store
from tests.faults import disk, past, rolling
from tests.faults.ledger import Ledger
from tests.faults.load import Load
from tests.faults.platform import Mode, Platform, held, whole
from tests.faults.proxy import HOST, Proxy
from tests.faults.rolling import Rolling
from tests.faults.tap import Tap
from tests.faults.verdict import everything, judged, unfinished

DEVICES = 16
PATIENCE_S = 75.0
"""How long everything may take to catch up after a fault."""
DISK_FULL_S = 12.0
SHOWN_CHARS = 300
ROW = "{:<42} {:>7} {:>7} {:>7} {:>7} {:>6} {:>10} {:>6}"
HEADINGS = ("after", "acked", "found", "events", "doubles", "views", "caught up", "at")
"""``caught up``: seconds from the end of the fault until nothing was left to do; ``at``: seconds since the start."""


class Campaign:
    """One platform, one load, one ledger; ``wrong`` is what was found to be wrong, with the fault after which."""

    def __init__(self, platform: Platform, seed: int, seconds: float) -> None:
        self.platform = platform
        self.seconds = seconds
        self.chance = random.Random(f"{seed}/{platform.mode}")
        self.ledger = Ledger()
        self.wrong: list[str] = []
        self._seed = seed
        self._begun_s = time.monotonic()
        self._load: Load | None = None
        self._rolling: Rolling | None = None
        self._settled_at: int | None = None

    @property
    def load(self) -> Load:
        assert self._load is not None
        return self._load

    @property
    def rolling(self) -> Rolling:
        assert self._rolling is not None
        return self._rolling

    def begin(self) -> None:
        """Start platform and load."""
        self.platform.start()
        self.say("started")
        gateways = self.platform.gateways()
        endpoints = [gateway.mqtt for gateway in gateways if gateway.mqtt]
        self._load = Load([str(gateway.http) for gateway in gateways], endpoints, self.ledger, self._seed)
        self.load.found(self._account_of, DEVICES)
        self._rolling = Rolling(Api.like(self.load.api, str(gateways[0].http)), endpoints)
        self._rolling.start(self.load.org)
        self.load.start()
        print(ROW.format(*HEADINGS), flush=True)

    def end(self) -> None:
        """Switch the devices off, look for the last time, stop in order."""
        self.load.stop()
        self.rolling.stop()
        self.look("the end, all devices switched off", online=0)
        self.load.close()
        code, told = self.platform.tool("projections", "verify")
        self.expect(code == 0, f"`flotilla projections verify` finds all views equal:\n{told}")
        self.platform.stop()
        words = " · ".join(f"{answer}: {count}" for answer, count in sorted(self.ledger.answers.items()))
        print(f"answers: {words}", flush=True)

    def say(self, what: str) -> None:
        """What happens, and when."""
        print(f"{time.monotonic() - self._begun_s:6.1f} s  {what}", file=sys.stderr, flush=True)

    def away(self, what: str, down: Callable[[], None], up: Callable[[], None]) -> None:
        """Something is away for ``seconds``; in the middle of it one process is killed, and has to start without."""
        time.sleep(self.chance.uniform(0.5, 2.0))
        down()
        self.say(f"{what}: away")
        killed_s = self.chance.uniform(0.2, 0.8) * self.seconds
        time.sleep(killed_s)
        victim = self.chance.choice(self.platform.processes()).name
        pid = self.platform.kill(victim)
        self.say(f"{victim} was killed")
        time.sleep(self.seconds - killed_s)
        up()
        self.say(f"{what}: there again")
        self.platform.await_process(victim, other_than=pid)
        self.look(f"{what} {self.seconds:g} s, 1 kill")

    def kills(self, names: list[str], pause_s: tuple[float, float]) -> None:
        """End these processes with kill -9 at random moments; returns when all are back."""
        killed = {}
        for name in names:
            time.sleep(self.chance.uniform(*pause_s))
            killed[name] = self.platform.kill(name)
            self.say(f"{name} was killed")
        for name, pid in killed.items():
            self.platform.await_process(name, other_than=pid)

    def expect(self, true: bool, promise: str) -> None:
        """Note what is not as promised."""
        if not true:
            self.wrong.append(f"not as promised: {promise}")

    def look(self, fault: str, *, online: int | None = None) -> None:
        """Let everything catch up, then judge."""
        begun_s = time.monotonic()
        if online is None:
            time.sleep(0.5)
            self._work_again()
            self.load.pause()
        late = self._catch_up(len(self.load.ids) if online is None else online)
        took_s = time.monotonic() - begun_s
        self.say(f"{fault}: caught up")
        ledger, views = self.ledger.copy(), past.moments(self.platform.settings)
        events, published = self._read()
        verdict = judged(ledger, events, published)
        print(
            ROW.format(
                fault,
                ledger.acknowledged,
                verdict.found,
                len(events) + len(published),
                len(verdict.doubles),
                len(views),
                f"{took_s:.1f} s",
                f"{time.monotonic() - self._begun_s:.0f} s",
            ),
            flush=True,
        )
        wrong = [*late, *verdict.doubles, *verdict.problems, *self._differing(views, events)]
        wrong += rolling.judged(self.rolling, events, self._settled_at)
        self.wrong += [f"{fault}: {problem}" for problem in (*wrong, *past.miscounted(self.platform.settings))]
        if self.rolling.cancelled and self._settled_at is None:
            self._settled_at = max(event.position for event in events)
        if online is None:
            self.rolling.cancel()
            self.load.resume()

    def _work_again(self) -> None:
        """Returns when commands are acknowledged again."""
        before = self.ledger.answers["acknowledged"]
        deadline = time.monotonic() + PATIENCE_S
        while self.ledger.answers["acknowledged"] < before + 5 and time.monotonic() < deadline:
            time.sleep(0.1)

    def _catch_up(self, online: int) -> list[str]:
        """Wait until nothing is left to do; what is, when patience is over."""
        deadline = time.monotonic() + PATIENCE_S
        left = ["never looked"]
        while left and time.monotonic() < deadline:
            before, left = left, self._left(online)
            if left and left != before:
                self.say(f"waiting: {'; '.join(left)[:SHOWN_CHARS]}")
            time.sleep(0.3 if left else 0)
        return left

    def _left(self, online: int) -> list[str]:
        """Cheap looks first; what costs more only when those find nothing."""
        cheap = (self.platform.unwell, lambda: self._presence(online), self.rolling.left)
        for look in (*cheap, self._behind, self.platform.undelivered):
            found = look()
            if found:
                return found
        return []

    def _presence(self, online: int) -> list[str]:
        try:
            counted = self.load.api.statistics(self.load.product)["devices"]["online"]
        except (ApiError, httpx.HTTPError) as problem:
            return [f"statistics: {problem!r}"]
        return [] if counted == online else [f"{counted} devices are online, not {online}"]

    def _behind(self) -> list[str]:
        events, _ = self._read()
        return [*unfinished(self.ledger, events), *past.behind(self.platform.settings, events)]

    def _differing(self, views: list[past.Moment], events: list[Recorded]) -> list[str]:
        settings = self.platform.settings
        with closing(open_store(settings.store)) as store, open_contracts(settings.keys, store) as contracts:
            return past.differing(views, events, contracts)

    def _read(self) -> tuple[list[Recorded], list[Recorded]]:
        """All events of the store and of the gateways' logs, as soon as they can be read."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                return self._read_once()
            except Unavailable as problem:
                if time.monotonic() > deadline:
                    raise
                self.say(f"waiting: {problem}")
                time.sleep(0.5)

    def _read_once(self) -> tuple[list[Recorded], list[Recorded]]:
        settings = self.platform.settings
        with closing(open_store(settings.store)) as store:
            events = everything(store)
        published: list[Recorded] = []
        for path in sorted(settings.data.glob("gateway-*/log.db")):
            with closing(open_store(f"sqlite:///{path}")) as store:
                published += everything(store)
        return events, published

    def _account_of(self, product: int) -> str:
        with closing(open_store(self.platform.settings.store)) as store:
            return metadata(store.read(f"product-{product}", limit=1)[0]).actor.removeprefix("account:")


def embedded(folder: Path, stack: ExitStack, seed: int, seconds: float) -> Campaign:
    """Everything in one process, on a small disk."""
    data = folder / "data"
    data.mkdir()
    platform = Platform("embedded", data, folder / "platform.log", {})
    stack.callback(platform.stop)
    small = stack.enter_context(disk.limited(data, lambda: platform.gateways()[0].pid))
    campaign = Campaign(platform, seed, seconds)
    campaign.begin()
    campaign.kills(["flotilla"] * 3, (1.0, 4.0))
    campaign.look("3 kills -9 of the process")
    _locked(campaign)
    _full(campaign, small)
    campaign.end()
    return campaign


def rabbitmq(folder: Path, stack: ExitStack, seed: int, seconds: float) -> Campaign:
    """A process a service, RabbitMQ, SQLite."""
    platform = _distributed("rabbitmq", folder, stack, {})
    campaign = Campaign(platform, seed, seconds)
    campaign.begin()
    assert platform.node is not None
    tap = Tap(platform.node.url, seed)
    tap.start()
    names = [one.name for one in platform.processes()]
    campaign.kills(campaign.chance.sample(names, len(names)), (0.5, 2.5))
    tap.stop()
    print(f"delivered by the tap: {tap.copies} messages, {tap.late} of them late")
    campaign.look(f"{len(names)} kills -9, messages doubled")
    _broker_away(campaign)
    _locked(campaign)
    campaign.end()
    return campaign


def cluster(folder: Path, stack: ExitStack, seed: int, seconds: float) -> Campaign:
    """A process a service, RabbitMQ, EventStoreDB, PostgreSQL."""
    ensure_postgres()
    folder.chmod(0o711)  # the server's account has to get through
    server = stack.enter_context(PostgresServer(folder / "postgres"))
    events = stack.enter_context(any_event_store(folder / "eventstoredb"))
    print(f"event store server: {events.how}")
    address = urlsplit(events.url)
    proxy = Proxy(str(address.hostname), address.port or 2113)
    stack.callback(proxy.close)
    through = events.url.replace(address.netloc.rpartition("@")[2], f"{HOST}:{proxy.port}")
    platform = _distributed("cluster", folder, stack, {"FLOTILLA_STORE": through, "FLOTILLA_DB": server.url})
    campaign = Campaign(platform, seed, seconds)
    campaign.begin()
    names = [one.name for one in platform.processes()]
    campaign.kills(campaign.chance.sample(names, len(names)), (0.5, 2.5))
    campaign.look(f"{len(names)} kills -9")

    def silence() -> None:
        proxy.silence()
        threading.Timer(seconds / 2, proxy.cut).start()

    campaign.away("store silent, then cut off,", silence, proxy.mend)
    campaign.away("PostgreSQL stopped", server.stop, server.start)
    _broker_away(campaign)
    campaign.end()
    return campaign


def _distributed(mode: Mode, folder: Path, stack: ExitStack, given: dict[str, str]) -> Platform:
    ensure_rabbitmq()
    node = stack.enter_context(RabbitNode(folder / "rabbitmq"))
    data = folder / "data"
    data.mkdir()
    platform = Platform(mode, data, folder / "platform.log", {**given, "FLOTILLA_BUS": node.url}, node)
    stack.callback(platform.stop)
    return platform


def _broker_away(campaign: Campaign) -> None:
    node = campaign.platform.node
    assert node is not None
    campaign.away("broker stopped", node.stop, node.start)


def _locked(campaign: Campaign) -> None:
    with held(campaign.platform.data / "events.db", campaign.seconds):
        time.sleep(campaign.chance.uniform(0.3, 0.7) * campaign.seconds)
        _reads_go_on(campaign, "while the store is locked")
    campaign.look(f"store locked by another {campaign.seconds:g} s")


def _full(campaign: Campaign, small: disk.Disk) -> None:
    print(f"disk: {small.how}")
    [process] = campaign.platform.processes()
    time.sleep(campaign.chance.uniform(0.5, 2.0))
    small.fill()
    before = campaign.ledger.answers["503 unavailable"]
    time.sleep(DISK_FULL_S)
    refused = campaign.ledger.answers["503 unavailable"] - before
    campaign.expect(refused > 0, "a command on a full disk is answered with 503 and `unavailable`")
    _reads_go_on(campaign, "on a full disk")
    small.make_room()
    campaign.look(f"disk full {DISK_FULL_S:g} s, {refused} times 503")
    campaign.expect(campaign.platform.processes() == [process], "it goes on without a restart when there is room")
    sound = whole(campaign.platform.data / "events.db")
    campaign.expect(sound == "ok", f"the store's file is sound, not {sound}")


def _reads_go_on(campaign: Campaign, when: str) -> None:
    try:
        shown = len(campaign.load.reader.devices(campaign.load.product, groups="all"))
    except (ApiError, httpx.HTTPError) as problem:
        campaign.expect(False, f"reads go on {when}: {problem!r}")
        return
    campaign.expect(shown > 0, f"devices are shown {when}")


CAMPAIGNS: dict[Mode, Callable[[Path, ExitStack, int, float], Campaign]] = {
    "embedded": embedded,
    "rabbitmq": rabbitmq,
    "cluster": cluster,
}


def main() -> int:
    """Run one campaign; what was wrong, on standard error."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("mode", choices=get_args(Mode))
    seed, seconds = os.environ.get("FLOTILLA_TEST_SEED"), os.environ.get("FLOTILLA_TEST_FAULT_SECONDS", "30")
    parser.add_argument("--seed", type=int, default=int(seed) if seed else random.randrange(10**6))
    parser.add_argument("--seconds", type=float, default=float(seconds))
    given = parser.parse_args()
    end_with_parent()
    print(f"{given.mode}: seed {given.seed}, outages of {given.seconds:g} s", flush=True)
    with tempfile.TemporaryDirectory(prefix="flotilla-faults-") as folder, ExitStack() as stack:
        campaign = CAMPAIGNS[given.mode](Path(folder), stack, given.seed, given.seconds)
        if campaign.wrong:
            print(campaign.platform.last_words(), file=sys.stderr)
    for problem in campaign.wrong:
        print(f"WRONG {problem}", file=sys.stderr)
    return 1 if campaign.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
