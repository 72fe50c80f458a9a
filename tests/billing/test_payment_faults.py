"""Whatever single call to the provider is lost before or after it took effect, delayed, repeated, or answered with 429
or 5xx, what is charged is the same, each once: over HTTP, with the sandbox behind a proxy (the last property of the
billing specification).

Here are the examples with all that charging can meet, each call going wrong in one way, which changes from call to
call; all examples, each call in every way, are ``make bench`` (``bench_payment_faults``), which takes minutes.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.billing.fault_proxy import FAULTS, FaultProxy
from tests.billing.lived_sandbox import READ_S, SandboxOverHttp, lived_over_http
from tests.billing.test_charging import charged
from tests.billing.test_examples import VECTORS

CHOSEN = {vector["id"]: vector for vector in VECTORS if vector["id"] in ("F02", "F03")}


@pytest.fixture(scope="module")
def faulty(sandbox: str) -> Iterator[SandboxOverHttp]:
    proxy = FaultProxy(sandbox, 2 * READ_S)
    with proxy.served() as through:
        made = SandboxOverHttp(sandbox, proxy, through)
        yield made
        made.close()


@pytest.mark.skipif(not VECTORS, reason="the specification's examples are not there")
@pytest.mark.parametrize("name", sorted(CHOSEN))
def test_whatever_call_goes_wrong_over_http_the_same_is_charged_once(faulty: SandboxOverHttp, name: str) -> None:
    vector = CHOSEN[name]
    expected = charged(lived_over_http(vector, faulty, {}))
    assert [cents for _, cents in expected] == [
        charge["cents"] for charge in vector["expect"]["charges"] if charge["result"] == "succeeded"
    ]
    calls = faulty.proxy.calls
    assert calls >= 3 * len(expected)
    for number in range(calls):
        fault = FAULTS[number % len(FAULTS)]
        assert charged(lived_over_http(vector, faulty, {number: fault})) == expected, (number, fault)
