"""``flotilla projections`` on the data of a platform that is not running."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from deploy.cli import app
from deploy.views import projectors
from shared.context import Context
from shared.errors import NotFound, Refused
from shared.events.contracts import CONTRACTS
from shared.events.devices import DeviceImported
from shared.events.firmware import FirmwareReleased
from shared.settings import Settings
from shared.store.open import open_store
from shared.store.port import ANY

IDS = [f"{number:024x}" for number in range(12)]
WIDE = {"COLUMNS": "250"}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    settings = Settings.load({}, data=tmp_path / "data")
    settings.data.mkdir()
    (settings.data / "gateway-a").mkdir()
    store = open_store(settings.store)
    for device_id in IDS:
        new = CONTRACTS.encode(DeviceImported(device_id, 1000, False), 0, Context.new("account:ada", "test"))
        store.append(f"device-{device_id}", ANY, [new])
    released = CONTRACTS.encode(FirmwareReleased(1000, 3, None, False), 0, Context.new("account:ada", "test"))
    store.append("firmware-1000", ANY, [released])
    store.close()
    with projectors(settings) as found:
        for projector in found.values():
            projector.catch_up()
    return settings.data


def run(*words: str, data: Path, env: dict[str, str] | None = None) -> Result:
    return CliRunner(env={**WIDE, **(env or {})}).invoke(
        app, ["projections", *words, "--data", str(data)], catch_exceptions=False
    )


def by_hand(data: Path, sql: str) -> None:
    with closing(sqlite3.connect(data / "views" / "devices.db")) as connection:
        assert connection.execute(sql).rowcount > 0
        connection.commit()


def line(shown: str, *words: str) -> str:
    [found] = [line for line in shown.splitlines() if all(word in line for word in words)]
    return found


def test_every_view_of_every_service_and_gateway_is_verified(data: Path) -> None:
    done = run("verify", data=data)
    assert done.exit_code == 0, done.output
    assert "NO" not in done.stdout
    for name in ("orgs/accounts", "devices/fleet", "devices/products", "firmware/runs", "gateway-a/devices"):
        assert "yes" in line(done.stdout, f" {name} ")
    assert " 12 " in line(done.stdout, " devices/fleet ")


def test_a_row_that_is_not_what_its_events_say_is_shown_and_the_exit_code_is_1(data: Path) -> None:
    by_hand(data, f"UPDATE fleet SET notes = 'by hand' WHERE device_id = '{IDS[5]}'")
    done = run("verify", "fleet", "firmware/runs", data=data)
    assert done.exit_code == 1
    assert "NO" in line(done.stdout, " devices/fleet ", "1 differ")
    assert "yes" in line(done.stdout, " firmware/runs ")
    assert IDS[5] in line(done.stdout, "  is  ", '"notes": "by hand"')
    assert IDS[5] in line(done.stdout, "  should be ", '"notes": ""')


def test_a_counter_that_is_not_what_its_rows_say_is_shown(data: Path) -> None:
    by_hand(data, "UPDATE fleet_counts SET n = 13 WHERE item = 'total'")
    done = run("verify", "fleet", data=data)
    assert done.exit_code == 1
    assert line(done.stdout, "a counter differs")
    assert line(done.stdout, "  is  ", '"scope": "product-1000"', '"n": 13')
    assert line(done.stdout, "  should be ", '"n": 12')


def test_a_rebuild_tells_whether_the_old_view_was_right(data: Path) -> None:
    done = run("rebuild", "fleet", data=data)
    assert done.exit_code == 0, done.output
    assert "12 events in" in done.stdout
    assert "they are equal" in done.stdout
    by_hand(data, "DELETE FROM fleet WHERE device_id = '" + IDS[0] + "'")
    assert "they are NOT equal" in run("rebuild", "fleet", data=data).stdout
    assert run("verify", data=data).exit_code == 0


def test_a_name_that_several_have_must_say_whose(data: Path) -> None:
    with pytest.raises(Refused, match="devices/products") as refusal:
        run("rebuild", "products", data=data)
    assert refusal.value.code == "ambiguous_view"
    assert run("rebuild", "devices/products", data=data).exit_code == 0
    with pytest.raises(NotFound, match="there is no view"):
        run("verify", "devices/nothing", data=data)


def test_a_rebuild_reads_the_mirror_first(data: Path, tmp_path: Path) -> None:
    mirror = tmp_path / "mirror.db"
    shutil.copy(data / "events.db", mirror)
    with closing(sqlite3.connect(data / "events.db")) as connection:  # the store alone could not give what was there
        connection.execute("DELETE FROM events WHERE pos < 12")
        connection.commit()
    env = {"FLOTILLA_MIRROR": f"sqlite://{mirror}"}
    assert "they are equal" in run("rebuild", "fleet", data=data, env=env).stdout
    assert run("verify", "fleet", data=data, env=env).exit_code == 0


def test_a_mirror_that_is_not_there_is_refused(data: Path, tmp_path: Path) -> None:
    with pytest.raises(Refused, match="FLOTILLA_MIRROR") as refusal:
        run("verify", "fleet", data=data, env={"FLOTILLA_MIRROR": f"sqlite://{tmp_path}/nothing.db"})
    assert refusal.value.code == "bad_setting"
    assert not (tmp_path / "nothing.db").exists()
