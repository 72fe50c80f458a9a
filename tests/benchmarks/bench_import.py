"""Import of device IDs at random through HTTP on the embedded platform, and how long other calls wait meanwhile. Goals:
100,000 under 15 s, ``--million`` under 60 s, from the upload until all are in the fleet view. ``--quick``: 10,000.
``--postgres URL``: read models in that database, an empty one.

Reference in the same run: the same events appended to a fresh store by ``append_many`` alone, a thousand a call.
"""

from __future__ import annotations

import secrets
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

from deploy.api import Api
from deploy.bars import bar
from deploy.fleet_commands import started
from shared.context import Context
from shared.events.contracts import CONTRACTS
from shared.events.devices import DeviceImported
from shared.store.open import open_store
from shared.store.port import NO_STREAM, Append

GOALS_S = {100_000: 15.0, 1_000_000: 60.0}
WHO = ("bench@example.com", "correct horse battery")
PAUSE_S = 0.05
"""Between two calls whose time is taken."""


def main(count: int, extra: Mapping[str, str]) -> None:
    console = Console()
    ids = [secrets.token_hex(12) for _ in range(count)]
    with (
        tempfile.TemporaryDirectory() as folder,
        started("embedded", Path(folder), console, {"FLOTILLA_PAYMENTS": "off:", **extra}) as gateways,
        Api(str(gateways[0].http), timeout_s=60) as api,
    ):
        api.sign_up(*WHO)
        api.log_in(*WHO)
        org = api.create_organization("Bench", "bench")
        product = api.create_product(org["slug"], "Fleet", "A large one")["id"]
        with _other_calls(str(gateways[0].http), product) as waits_s:
            began = time.perf_counter()
            import_id = api.start_import(product, "\n".join(ids).encode())["id"]
            with bar("importing", count, unit="lines") as moved:
                for job in api.import_progress(product, import_id):
                    moved(job["lines_done"], job["lines_done"])
            imported_s = time.perf_counter() - began
            while api.statistics(product)["devices"]["total"] < count:
                time.sleep(PAUSE_S)
            visible_s = time.perf_counter() - began
    reference_s = _reference(ids)
    console.print(
        f"{job['updated']} devices imported through HTTP in {imported_s:.1f} s, "
        f"all in the fleet view after {visible_s:.1f} s"
    )
    console.print(
        f"reference, append_many of the same events alone: {reference_s:.1f} s; ratio {visible_s / reference_s:.1f}"
    )
    slowest = sorted(waits_s)
    shown = ", ".join(f"p{part} {slowest[len(slowest) * part // 100] * 1e3:.0f} ms" for part in (50, 99))
    console.print(f"{len(slowest)} other calls (a device, changed and read) meanwhile: {shown}")
    if count in GOALS_S:
        console.print(f"goal under {GOALS_S[count]:.0f} s: {'met' if visible_s < GOALS_S[count] else 'MISSED'}")


@contextmanager
def _other_calls(url: str, product: int) -> Iterator[list[float]]:
    """How long each change of a device took, with reading it, made one after the other."""
    waits_s: list[float] = []
    over = threading.Event()

    def call() -> None:
        with Api(url, timeout_s=60) as api:
            api.log_in(*WHO)
            device = secrets.token_hex(12)
            api.import_devices(product, device.encode())
            while not over.wait(PAUSE_S):
                began = time.perf_counter()
                api.update_device(product, device, {"notes": str(len(waits_s))})
                api.call("GET", f"/v1/products/{product}/devices/{device}")
                waits_s.append(time.perf_counter() - began)

    caller = threading.Thread(target=call)
    caller.start()
    try:
        yield waits_s
    finally:
        over.set()
        caller.join()


def _reference(ids: list[str]) -> float:
    with tempfile.TemporaryDirectory() as folder:
        store = open_store(f"sqlite:///{folder}/events.db")
        began = time.perf_counter()
        for start in range(0, len(ids), 1_000):
            context = Context.new("system:bench", "bench")
            store.append_many(
                [
                    Append(f"device-{one}", NO_STREAM, [CONTRACTS.encode(DeviceImported(one, 1000, False), 0, context)])
                    for one in ids[start : start + 1_000]
                ]
            )
        took = time.perf_counter() - began
        store.close()
    return took


if __name__ == "__main__":
    words = sys.argv[1:]
    size = 10_000 if "--quick" in words else 1_000_000 if "--million" in words else 100_000
    main(size, {"FLOTILLA_DB": words[words.index("--postgres") + 1]} if "--postgres" in words else {})
