import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from nameko.events import event_handler
from typer.testing import CliRunner

from deploy.messages_command import app, parked_folder, resender
from shared.bus.host import ServiceHost
from shared.bus.local import LocalTransport
from shared.errors import NotFound, Refused
from shared.runtime import Runtime
from shared.settings import Settings

WAIT_S = 20.0

allowed = threading.Event()
handled: list[str] = []
handled_one = threading.Event()


class Picky:
    name = "picky"

    @event_handler("orgs", "OrganizationCreated")  # type: ignore[untyped-decorator]
    def note(self, message: dict[str, Any]) -> None:
        if not allowed.is_set():
            raise Refused("not_yet", "it cannot be taken yet")
        handled.append(message["id"])
        handled_one.set()


@pytest.fixture
def transport(tmp_path: Path) -> Iterator[LocalTransport]:
    allowed.clear()
    handled.clear()
    handled_one.clear()
    made = LocalTransport("test", parked=parked_folder(Settings.load({}, data=tmp_path)))
    runtime = Runtime("test", [made, ServiceHost(Picky, made), resender(made, tmp_path / "parked")])
    runtime.start()
    yield made
    runtime.stop()


def test_a_parked_message_is_listed_with_its_error_and_sent_again_on_demand(
    transport: LocalTransport, tmp_path: Path
) -> None:
    transport.publish("orgs", "OrganizationCreated", b'{"id": "one"}', {}, handled=True).result(WAIT_S)
    [parked] = transport.kept.first(10)
    shown = CliRunner(env={"COLUMNS": "200"}).invoke(app, ["list", "--data", str(tmp_path)])
    assert "it cannot be taken yet" in shown.output
    assert "picky.note" in shown.output
    allowed.set()
    again = CliRunner().invoke(app, ["resend", parked.id, "--data", str(tmp_path)])
    assert again.exit_code == 0
    assert handled_one.wait(WAIT_S)
    assert handled == ["one"]
    runtime_look = threading.Event()
    for _ in range(200):  # it is forgotten right after it was handed over
        if len(transport.kept) == 0:
            break
        runtime_look.wait(0.05)
    assert len(transport.kept) == 0


def test_a_message_that_is_not_parked_cannot_be_sent_again(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["resend", "nothing", "--data", str(tmp_path)])
    assert isinstance(done.exception, NotFound)
