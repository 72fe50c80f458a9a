from __future__ import annotations

import subprocess
import sys
from contextlib import closing
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from shared.errors import Refused
from shared.store import open_store
from shared.store.esdb import EsdbEventStore
from shared.store.esdb.address import DEFAULTS, checked
from shared.store.esdb.client import Client

WITHOUT_CLIENT = """
import sys
sys.modules["esdbclient"] = None
from shared.errors import Refused
from shared.store import open_store
try:
    open_store("esdb://localhost:2113?Tls=false")
except Refused as refusal:
    print(refusal)
"""


@pytest.mark.parametrize(
    "url",
    [
        "esdb://localhost:2113?Tls=false",
        "esdb://a:2113,b:2113,c?tls=false",
        "esdb+discover://cluster.example:2113?Tls=false",
        "esdb://admin:changeit@localhost:2113",
    ],
)
def test_a_cluster_is_opened_without_asking_it(url: str) -> None:
    with closing(open_store(url)) as store:
        assert isinstance(store, EsdbEventStore)


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("esdb://", "No targets"),
        ("esdb://admin:secret@localhost:2113?Tls=maybe", "maybe"),
        ("esdb://admin:secret@localhost:2113?Colour=red", "COLOUR"),
        ("esdb://admin:secret@localhost:2113?TlsVerifyCert=false", "TlsVerifyCert"),
        ("esdb://admin:secret@localhost:2113?NodePreference=follower", "NodePreference"),
        ("esdb://admin:secret@localhost:2113?TlsCaFile=/nowhere/ca.pem", "TlsCaFile"),
        ("esdb://admin:secret@localhost:2113?DefaultDeadline=0", "at least 1"),
        ("esdb://admin:secret@localhost:2113?DefaultDeadline=soon", "soon"),
        ("esdb://admin:secret@localhost:2113?KeepAliveInterval=-1", "at least 1 ms"),
        ("esdb://admin:secret@localhost:2113?GossipTimeout", "bad query"),
        ("esdb+discover://admin:secret@a:2113,b:2113", "More than one target"),
        ("esdb://admin@localhost:2113", "password are required"),
    ],
)
def test_a_url_that_the_client_would_misread_is_refused_without_its_password(url: str, reason: str) -> None:
    with pytest.raises(Refused) as refusal:
        open_store(url)
    assert refusal.value.code == "bad_setting"
    assert reason in refusal.value.reason
    assert "secret" not in refusal.value.reason


def test_what_the_url_does_not_say_is_ours_and_what_it_says_stays() -> None:
    options = parse_qs(urlsplit(checked("esdb://a:1?Tls=false&defaultdeadline=9")).query)
    assert options.pop("Tls") == ["false"]
    assert options.pop("defaultdeadline") == ["9"]
    assert options == {name: [value] for name, value in DEFAULTS.items() if name != "DefaultDeadline"}


def test_files_of_certificates_may_be_given(tmp_path: Path) -> None:
    certificate = tmp_path / "ca.pem"
    certificate.write_text("-----BEGIN CERTIFICATE-----")
    assert certificate.name in checked(f"esdb://admin:secret@localhost:2113?TlsCaFile={certificate}")


def test_a_file_of_certificates_without_one_is_refused(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("something else")
    with pytest.raises(Refused, match="TlsCaFile holds no certificate"):
        checked(f"esdb://admin:secret@localhost:2113?TlsCaFile={tmp_path / 'ca.pem'}")


def test_a_user_and_password_are_percent_decoded() -> None:
    given: list[tuple[str, str]] = []

    class Watched(Client):
        def _credentials(self, username: str, password: str) -> None:
            given.append((username, password))

    with Watched(checked("esdb://a%40b:p%2Fq@localhost:1")):
        assert given == [("a@b", "p/q")]


def test_without_the_client_installed_the_refusal_says_what_to_install() -> None:
    shown = subprocess.run([sys.executable, "-c", WITHOUT_CLIENT], capture_output=True, text=True, timeout=30)
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout.startswith("missing_extra:")
    assert "flotilla[esdb]" in shown.stdout
