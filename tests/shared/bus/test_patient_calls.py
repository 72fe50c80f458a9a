from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from nameko.rpc import ServiceRpc

from shared.bus.calls import PatientRpc, RpcClients
from shared.errors import Unavailable


class Transport:
    """Notes for how long calls wait, and answers none."""

    def __init__(self) -> None:
        self.waits_s: list[float] = []

    def request(self, *asked: Any, nested: bool) -> None:
        *_, timeout_s, answer = asked
        self.waits_s.append(timeout_s)
        answer(Unavailable("nobody"))


@pytest.mark.parametrize(("declared", "waits_s"), [(ServiceRpc("devices"), 10.0), (PatientRpc("devices", 60.0), 60.0)])
def test_a_call_waits_as_long_as_its_client_was_declared_to(declared: ServiceRpc, waits_s: float):
    transport: Any = Transport()
    client = RpcClients(declared, transport, 10.0).get_dependency(SimpleNamespace(context_data={}))
    with pytest.raises(Unavailable):
        client.rollout_sizes(product_id=1000)
    assert transport.waits_s == [waits_s]
