"""Import of 100,000 device IDs through HTTP on the embedded platform (goal: under 15 s).

Reference in the same run: the same events appended to a fresh store by ``append_many`` alone, a thousand a call.
``--quick`` imports 10,000.
"""

from __future__ import annotations

import secrets
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from deploy.api import Api
from deploy.fleet_commands import started
from shared.context import Context
from shared.events.contracts import CONTRACTS
from shared.events.devices import DeviceImported
from shared.store.open import open_store
from shared.store.port import NO_STREAM, Append

GOAL_S = 15.0


def main(count: int) -> None:
    console = Console()
    ids = [secrets.token_hex(12) for _ in range(count)]
    with (
        tempfile.TemporaryDirectory() as folder,
        started("embedded", Path(folder), console) as gateways,
        Api(str(gateways[0].http), timeout_s=60) as api,
    ):
        api.sign_up("bench@example.com", "correct horse battery")
        api.log_in("bench@example.com", "correct horse battery")
        org = api.create_organization("Bench", "bench")
        product = api.create_product(org["slug"], "Fleet", "A large one")["id"]
        began = time.perf_counter()
        job = api.start_import(product, "\n".join(ids).encode())
        with Progress(console=console) as progress:
            bar = progress.add_task("importing", total=count)
            while job["state"] != "done":
                time.sleep(0.2)
                job = api.import_state(product, job["id"])
                progress.update(bar, completed=job["lines_done"])
        imported_s = time.perf_counter() - began
        while api.statistics(product)["devices"]["total"] < count:
            time.sleep(0.05)
        visible_s = time.perf_counter() - began
    reference_s = _reference(ids)
    console.print(
        f"{job['updated']} devices imported through HTTP in {imported_s:.1f} s, "
        f"all in the fleet view after {visible_s:.1f} s"
    )
    console.print(
        f"reference, append_many of the same events alone: {reference_s:.1f} s; ratio {visible_s / reference_s:.1f}"
    )
    if count == 100_000:
        console.print(f"goal under {GOAL_S:.0f} s: {'met' if visible_s < GOAL_S else 'MISSED'}")


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
    main(10_000 if "--quick" in sys.argv[1:] else 100_000)
