"""``flotilla doctor``: one look at everything that an installation needs."""

from __future__ import annotations

import platform
import shutil
import sqlite3
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from rich.console import Console
from rich.table import Table

from deploy import health
from deploy.running import DataFolder
from deploy.views import projectors
from shared.blobs import blob_folder, open_blobs
from shared.errors import FlotillaError
from shared.settings import Settings
from shared.store.open import open_store

LEAST_FREE_BYTES = 1 << 30
LEAST_SQLITE = (3, 35, 0)
MANY_BEHIND = 10_000


@dataclass(frozen=True, slots=True)
class Finding:
    """What was looked at, how it is, and what to do about it."""

    subject: str
    state: Literal["ok", "warning", "broken"]
    text: str


def examine(settings: Settings, console: Console) -> bool:
    """Print the findings; whether nothing is broken."""
    table = Table(title="flotilla doctor")
    for heading in ("what", "state", "finding"):
        table.add_column(heading)
    healthy = True
    colours = {"ok": "green", "warning": "yellow", "broken": "red"}
    for look in (_versions, _disk, _store, _blobs, _views, _processes, _broker):
        for finding in _safely(look, settings):
            healthy = healthy and finding.state != "broken"
            table.add_row(finding.subject, f"[{colours[finding.state]}]{finding.state}[/]", finding.text)
    console.print(table)
    return healthy


def _safely(look: Callable[[Settings], Iterator[Finding]], settings: Settings) -> Iterator[Finding]:
    try:
        yield from look(settings)
    except (FlotillaError, OSError) as error:
        yield Finding(look.__name__.strip("_"), "broken", f"{type(error).__name__}: {error}")


def _versions(settings: Settings) -> Iterator[Finding]:
    old = sys.version_info < (3, 11)
    yield Finding("Python", "broken" if old else "ok", f"{platform.python_version()} (3.11 or later is needed)")
    ancient = sqlite3.sqlite_version_info < LEAST_SQLITE
    yield Finding("SQLite", "broken" if ancient else "ok", f"{sqlite3.sqlite_version} (3.35 or later is needed)")


def _disk(settings: Settings) -> Iterator[Finding]:
    if not settings.data.exists():
        yield Finding("data", "warning", f"{settings.data} does not exist yet; `flotilla run` makes it")
        return
    free = shutil.disk_usage(settings.data).free
    state: Literal["ok", "warning"] = "ok" if free > LEAST_FREE_BYTES else "warning"
    yield Finding("disk", state, f"{free / 2**30:.1f} GiB free on {settings.data} (1 GiB or more is wanted)")


def _store(settings: Settings) -> Iterator[Finding]:
    if not settings.data.exists():
        return
    store = open_store(settings.store)
    try:
        yield Finding("event store", "ok", f"{settings.store.rsplit('@', 1)[-1]}, head at {store.head()}")
    finally:
        store.close()


def _blobs(settings: Settings) -> Iterator[Finding]:
    if not settings.blobs.startswith("file:"):
        open_blobs(settings.blobs)
    elif not blob_folder(settings.blobs).is_dir():
        return
    yield Finding("blobs", "ok", settings.blobs)


def _views(settings: Settings) -> Iterator[Finding]:
    if not settings.data.exists():
        return
    with projectors(settings) as found:
        for service, projector in found.items():
            for view in projector.status():
                subject = f"view {service}/{view.name}"
                if view.error:
                    yield Finding(subject, "broken", f"stopped: {view.error}")
                elif view.parked:
                    yield Finding(subject, "warning", f"{view.parked} events parked; `flotilla projections parked`")
                elif (view.lag_events or 0) > MANY_BEHIND:
                    yield Finding(subject, "warning", f"up to {view.lag_events} events behind")
                else:
                    yield Finding(subject, "ok", f"at {view.position}")


def _processes(settings: Settings) -> Iterator[Finding]:
    folder = DataFolder(settings.data)
    processes = folder.processes()
    if not processes:
        yield Finding("processes", "warning", "nothing runs on this data; `flotilla run` or `flotilla up`")
    for process in processes:
        complaints = health.look(folder, process.name, live=False) if process.name in health.reporting(folder) else []
        where = f"pid {process.pid}" + (f" · {process.http}" if process.http else "")
        yield Finding(process.name, "broken" if complaints else "ok", "; ".join(complaints) or f"{where} is well")


def _broker(settings: Settings) -> Iterator[Finding]:
    if settings.bus != "local:":
        yield Finding("RabbitMQ", "ok", f"as set: {settings.bus.rsplit('@', 1)[-1]}")
        return
    found = shutil.which("rabbitmq-server")
    text = found or "not installed; only `flotilla up` needs it (as root it installs it with apt)"
    yield Finding("RabbitMQ", "ok" if found else "warning", text)
