from dataclasses import replace
from pathlib import Path

import pytest

from deploy.greeting import hints, lines
from deploy.running import Process
from shared.settings import Settings

PLAIN = Process("flotilla", 1, "http://127.0.0.1:8080", ("127.0.0.1", 1883))


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings.load(data=tmp_path)


def test_every_listener_is_named_with_what_it_speaks_and_no_other(settings: Settings) -> None:
    assert [line.strip() for line in lines(settings, [PLAIN])[1:]] == [
        "API      http://127.0.0.1:8080   (documented at http://127.0.0.1:8080/openapi.json)",
        "MQTT     127.0.0.1:1883",
    ]
    every = Process("a", 1, "http://h:1", None, None, ("h", 2), ("h", 3), ("h", 4), ("h", 5), ("h", 6))
    other = Process("b", 1, "http://h:11", None, None, ("h", 12), None, ("h", 14))
    assert [line.strip() for line in lines(settings, [every, other])[2:]] == [
        "MQTT     h:4, h:14 (TLS)",
        "MQTT     h:5 (WebSocket)",
        "MQTT     h:6 (WebSocket, TLS)",
        "Particle h:2, h:12 (TCP)",
        "Particle h:3 (UDP)",
    ]


def test_it_says_without_tls_only_while_there_is_no_listener_with_tls(settings: Settings) -> None:
    secured = Process("flotilla", 1, "http://127.0.0.1:1", mqtts=("127.0.0.1", 8883))
    assert "on this machine only, without TLS" in hints(settings, [PLAIN], "flotilla")[-1]
    assert hints(settings, [secured], "flotilla")[-1] == "  listens  on this machine only; FLOTILLA_HOST changes that"
    assert not any("this machine only" in line for line in hints(replace(settings, host="::"), [PLAIN], "flotilla"))
