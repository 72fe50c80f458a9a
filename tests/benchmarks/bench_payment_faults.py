"""Every example of the billing specification, lived with the sandbox over HTTP, with one call after the other going
wrong in every way: lost before or after it took effect, answered with 429 or 5xx, delayed, repeated. The same is
charged, each once, or this ends with 1.

``--share N`` lives every N-th of those lives; all take some minutes. The ratio is the time of a life with a fault to
that of the same life without.
"""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
import time
from pathlib import Path

from deploy.payment_sandbox import Sandbox
from tests.billing.fault_proxy import FAULTS, Fault, FaultProxy
from tests.billing.lived_sandbox import READ_S, SandboxOverHttp, lived_over_http
from tests.billing.test_charging import charged
from tests.billing.test_examples import VECTORS


def main(share: int) -> int:
    """Exit code."""
    logging.disable(logging.WARNING)  # each fault is told there
    if not VECTORS:
        print("the specification's examples are not there")
        return 0
    with tempfile.TemporaryDirectory() as folder:
        beside = Sandbox(Path(folder))
        url = beside.start().url
        proxy = FaultProxy(url, 2 * READ_S)
        try:
            with proxy.served() as through:
                provider = SandboxOverHttp(url, proxy, through)
                wrong = sum(_all_of(vector, provider, share) for vector in VECTORS)
                provider.close()
        finally:
            beside.stop()
    print(f"{len(VECTORS)} examples, {wrong} lives with other charges")
    return 1 if wrong else 0


def _all_of(vector: dict, provider: SandboxOverHttp, share: int) -> int:  # type: ignore[type-arg]
    smooth_s, expected = _lived(vector, provider, {})
    calls, wrong, lives, took_s = provider.proxy.calls, 0, 0, 0.0
    faults = [(number, fault) for fault in FAULTS for number in range(calls)]
    for number, fault in faults[::share]:
        faulty_s, found = _lived(vector, provider, {number: fault})
        lives, took_s = lives + 1, took_s + faulty_s
        if found != expected:
            wrong += 1
            print(f"{vector['id']}: call {number} {fault}: {found}, not {expected}")
    print(
        f"{vector['id']}: {calls:3} calls, {len(expected)} charges, {lives:3} lives with a fault, "
        f"{took_s / max(lives, 1) / smooth_s:.1f} times the time of one without",
        flush=True,
    )
    return wrong


def _lived(vector: dict, provider: SandboxOverHttp, faults: dict[int, Fault]) -> tuple[float, list[tuple[int, int]]]:  # type: ignore[type-arg]
    began = time.perf_counter()
    found = charged(lived_over_http(vector, provider, faults))
    return time.perf_counter() - began, found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--share", type=int, default=1)
    sys.exit(main(parser.parse_args().share))
