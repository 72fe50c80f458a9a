"""What the supervisor tells each of its processes, without starting any."""

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from deploy.supervisor import Supervisor
from shared.settings import Settings


def test_every_gateway_has_ports_of_its_own_for_all_that_it_listens_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ports = [field.name for field in fields(Settings) if field.name.endswith("_port")]
    settings = replace(Settings.load(data=tmp_path), bus="amqp://localhost")
    settings = replace(settings, **{name: 1_000 * number for number, name in enumerate(ports, 1)})
    told: list[Settings] = []

    def add(self: Supervisor, name: str, command: list[str], settings: Settings) -> Any:
        if name.startswith("gateway-"):
            told.append(settings)
        return None

    monkeypatch.setattr(Supervisor, "_add", add)
    monkeypatch.setattr(Supervisor, "_spawn", lambda self, child: None)
    monkeypatch.setattr(Supervisor, "_ready", lambda self, child: None)
    Supervisor(settings, ["a", "b"], lambda text: None).start()
    for name in ports:
        assert [getattr(one, name) for one in told] == [getattr(settings, name), getattr(settings, name) + 1], name
