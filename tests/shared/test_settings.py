from pathlib import Path

import pytest

from shared.errors import Refused
from shared.settings import Settings, table


def test_defaults_live_in_one_folder(tmp_path: Path) -> None:
    settings = Settings.load({}, data=tmp_path)
    for url in (settings.store, settings.log, settings.db, settings.blobs, settings.mail):
        assert str(tmp_path) in url


def test_the_environment_is_overridden_by_what_is_given(tmp_path: Path) -> None:
    environ = {"FLOTILLA_HTTP_PORT": "9000", "FLOTILLA_GATEWAY": "b", "HOME": "/"}
    settings = Settings.load(environ, http_port=9001, mqtt_port=None)
    assert (settings.http_port, settings.gateway, settings.mqtt_port) == (9001, "b", 1883)


def test_an_unknown_setting_stops_the_start() -> None:
    with pytest.raises(Refused, match="FLOTILLA_PROT is no setting"):
        Settings.load({"FLOTILLA_PROT": "1"})


def test_a_setting_of_the_wrong_kind_stops_the_start() -> None:
    with pytest.raises(Refused, match="FLOTILLA_HTTP_PORT must be of the kind int, not 'many'"):
        Settings.load({"FLOTILLA_HTTP_PORT": "many"})


def test_a_child_process_gets_the_same_settings(tmp_path: Path) -> None:
    settings = Settings.load({"FLOTILLA_LEASE_S": "3"}, data=tmp_path)
    assert Settings.load(settings.environment()) == settings


def test_the_table_names_every_setting() -> None:
    for name in Settings.__dataclass_fields__:
        assert f"`FLOTILLA_{name.upper()}`" in table()
