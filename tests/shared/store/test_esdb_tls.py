"""TLS and users: against the stand-in always, with a CA of its own."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from shared.errors import FlotillaError, Unavailable
from shared.store.esdb import EsdbEventStore
from shared.store.port import NO_STREAM, Append, Appended, EventStore, Recorded
from tests.shared.store.esdb import TIMEOUT_S, followed, new, patiently
from tests.standins.eventstoredb.guard import Authority, Secured
from tests.standins.eventstoredb.node import Cluster, Node

BEGIN = "-----BEGIN CERTIFICATE-----"
USERS = {"admin": "change/it"}


@pytest.fixture
def secured(tmp_path: Path) -> Secured:
    return Secured(Authority(tmp_path), USERS)


@pytest.fixture
def safe(secured: Secured) -> Iterator[Node]:
    node = Node(secured=secured)
    yield node
    node.stop()


def opened(targets: str, ca: Path | None, user: str = "admin:change%2Fit", options: str = "") -> EsdbEventStore:
    trusted = f"&TlsCaFile={ca}" if ca else ""
    return EsdbEventStore(f"esdb://{user}@{targets}?DefaultDeadline=2{trusted}{options}", page_s=3)


def address(node: Node) -> str:
    return f"127.0.0.1:{node.port}"


def failures(store: EventStore) -> Iterator[FlotillaError]:
    """How each kind of call fails, and that none of them hangs."""
    calls = [lambda: store.head(), lambda: store.append("a", NO_STREAM, new()), lambda: store.read("a")]
    for call in calls:
        started = time.monotonic()
        with pytest.raises(Unavailable) as failure:
            call()
        assert time.monotonic() - started < TIMEOUT_S
        yield failure.value


def test_with_the_right_ca_and_password_everything_works(secured: Secured, safe: Node) -> None:
    with closing(opened(address(safe), secured.authority.file)) as store, followed(store) as following:
        following()
        event = new()
        assert store.append("a", NO_STREAM, event) == Appended(0, store.read("a")[0].position)
        assert isinstance(store.append_many([Append("b", NO_STREAM, new())])[0], Appended)
        delivered = following()
        assert isinstance(delivered, Recorded)
        assert delivered.id == event[0].id
        store.truncate("a", 1)
        store.delete("b")


@pytest.mark.parametrize("ca", ["another", None])
def test_a_certificate_that_is_not_trusted_names_the_setting(safe: Node, tmp_path: Path, ca: str | None) -> None:
    file = Authority(tmp_path, ca).file if ca else None
    with closing(opened(address(safe), file)) as store:
        for failure in failures(store):
            assert "TlsCaFile" in str(failure)
            assert "change" not in str(failure)


def test_a_ca_file_that_is_none_names_the_setting(safe: Node, tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text(f"{BEGIN}\nbm90aGluZw==\n-----END CERTIFICATE-----\n")
    with closing(opened(address(safe), tmp_path / "ca.pem")) as store:
        for failure in failures(store):
            assert "TlsCaFile" in str(failure)


def test_a_certificate_for_another_host_names_the_setting(secured: Secured, safe: Node) -> None:
    with closing(opened(f"localhost:{safe.port}", secured.authority.file)) as store:
        for failure in failures(store):
            assert "TlsCaFile" in str(failure)


@pytest.mark.parametrize("user", ["admin:wrong", "nobody:change%2Fit"])
def test_a_wrong_user_or_password_is_said_and_not_shown(secured: Secured, safe: Node, user: str) -> None:
    with closing(opened(address(safe), secured.authority.file, user)) as store:
        for failure in failures(store):
            assert "access denied; check the user in the URL" in str(failure)
            assert "wrong" not in str(failure)
        outcome = store.append_many([Append("a", NO_STREAM, new())])[0]
        assert "access denied" in str(outcome)


def test_a_client_without_tls_is_told_that_the_server_does_not_speak_plainly(safe: Node) -> None:
    with closing(EsdbEventStore(safe.url + "&DefaultDeadline=2", page_s=3)) as store:
        for failure in failures(store):
            assert "Tls=" in str(failure)


def test_a_client_with_tls_is_told_that_the_server_speaks_plainly(secured: Secured, node: Node) -> None:
    with closing(opened(address(node), secured.authority.file)) as store:
        for failure in failures(store):
            assert "Tls=" in str(failure)


def test_appends_follow_the_leader_of_a_secured_cluster(secured: Secured) -> None:
    cluster = Cluster(2, secured=secured)
    targets = ",".join(address(node) for node in cluster.nodes)
    try:
        with closing(opened(targets, secured.authority.file)) as store:
            for number, leader in enumerate([*cluster.nodes, *cluster.nodes]):
                cluster.leader = leader
                assert patiently(lambda n=number: store.append(f"a-{n}", NO_STREAM, new())).version == 0  # type: ignore[misc]
    finally:
        cluster.stop()


def test_a_secured_cluster_refuses_a_wrong_password_when_it_is_asked_for_its_nodes(secured: Secured) -> None:
    cluster = Cluster(2, secured=secured)
    targets = ",".join(address(node) for node in cluster.nodes)
    try:
        with closing(opened(targets, secured.authority.file, "admin:wrong", "&MaxDiscoverAttempts=1")) as store:
            for failure in failures(store):
                assert "check the user in the URL" in str(failure)
    finally:
        cluster.stop()
