"""Several nodes, one of which leads."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest

from shared.errors import Unavailable, Unknown
from shared.store.esdb import EsdbEventStore
from shared.store.port import (
    NO_STREAM,
    Append,
    Appended,
    CaughtUp,
    Recorded,
)
from tests.shared.store.esdb import TIMEOUT_S, followed, new, patiently
from tests.standins.eventstoredb.node import Cluster


def test_appends_follow_the_leader(cluster: Cluster) -> None:
    with closing(EsdbEventStore(cluster.url)) as store, followed(store) as following:
        assert following() == CaughtUp(None)
        for number, leader in enumerate([*cluster.nodes, *cluster.nodes]):
            cluster.leader = leader
            if number % 2:
                event = new()
                assert store.append_many([Append(f"a-{number}", NO_STREAM, event)]) == [Appended(0, store.head())]  # type: ignore[arg-type]
            else:
                event = new()
                store.append(f"a-{number}", NO_STREAM, event)
            item = following()
            while not isinstance(item, Recorded):
                item = following()
            assert item.id == event[0].id


def test_reads_are_whole_while_the_leader_changes(cluster: Cluster) -> None:
    with closing(EsdbEventStore(cluster.url)) as store:
        store.append("a", NO_STREAM, new(1_500))
        done = threading.Event()

        def change() -> None:
            for number in range(12):
                cluster.leader = cluster.nodes[number % 2]
                patiently(lambda number=number: store.append(f"b-{number}", NO_STREAM, new()))  # type: ignore[misc]
            done.set()

        with ThreadPoolExecutor(1) as thread:
            changing = thread.submit(change)
            reads = 0
            while not done.is_set() and not changing.done():
                try:
                    assert len(store.read("a")) == 1_500
                except Unavailable:
                    continue
                reads += 1
            changing.result(TIMEOUT_S)
        assert reads > 0


def test_the_nodes_are_found_by_asking_one(cluster: Cluster) -> None:
    cluster.leader = cluster.nodes[1]
    url = f"esdb+discover://127.0.0.1:{cluster.nodes[0].port}?Tls=false"
    with closing(EsdbEventStore(url)) as store:
        assert store.append("a", NO_STREAM, new()).version == 0


def test_a_single_node_that_does_not_lead_says_what_to_do(cluster: Cluster) -> None:
    with closing(EsdbEventStore(cluster.nodes[1].url)) as store:
        with pytest.raises(Unknown, match="name all nodes"):
            store.append("a", NO_STREAM, new())
        with pytest.raises(Unavailable, match="name all nodes"):
            store.head()


def test_a_cluster_without_a_node_that_answers_is_unavailable(cluster: Cluster) -> None:
    with closing(EsdbEventStore("esdb://127.0.0.1:1,127.0.0.1:2?Tls=false&MaxDiscoverAttempts=1")) as store:
        with pytest.raises(Unavailable):
            store.head()
        with pytest.raises(Unavailable):
            store.append("a", NO_STREAM, new())
