"""What the stand-in promises to any client of the protocol; the bare client asks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from esdbclient import EventStoreDBClient, NewEvent, StreamState
from esdbclient.exceptions import (
    GrpcError,
    MaximumAppendSizeExceededError,
    NotFound,
    StreamIsDeleted,
    WrongCurrentVersion,
)

from tests.standins.eventstoredb.journal import Journal
from tests.standins.eventstoredb.node import Node


def new(count: int = 1, kind: str = "Happened") -> list[NewEvent]:
    return [NewEvent(kind, b"{}", b"{}") for _ in range(count)]


@pytest.fixture
def node() -> Iterator[Node]:
    node = Node()
    yield node
    node.stop()


@pytest.fixture
def client(node: Node) -> Iterator[EventStoreDBClient]:
    with EventStoreDBClient(node.url) as client:
        yield client


def one(client: EventStoreDBClient, expected: int | StreamState, events: list[NewEvent]) -> int:
    return client.append_event("a", current_version=expected, event=events[0])


def batch(client: EventStoreDBClient, expected: int | StreamState, events: list[NewEvent]) -> int:
    return client.append_to_stream("a", current_version=expected, events=events)


@pytest.mark.parametrize("append", [one, batch])
def test_both_kinds_of_append_know_every_expectation(
    client: EventStoreDBClient, append: Callable[[EventStoreDBClient, int | StreamState, list[NewEvent]], int]
) -> None:
    with pytest.raises(WrongCurrentVersion, match="does not exist"):
        append(client, StreamState.EXISTS, new())
    with pytest.raises(WrongCurrentVersion, match="does not exist"):
        append(client, 0, new())
    first, second = new(), new()
    answers = [append(client, StreamState.NO_STREAM, first), append(client, 0, second)]
    assert [append(client, StreamState.NO_STREAM, first), append(client, 0, second)] == answers
    assert append(client, StreamState.ANY, second) == answers[1]
    append(client, StreamState.EXISTS, new())
    append(client, StreamState.ANY, new())
    with pytest.raises(WrongCurrentVersion, match="last event is 3 not"):
        append(client, 7, new())
    assert client.get_current_version("a") == 3


def test_appends_that_are_too_large_are_refused_in_two_ways(client: EventStoreDBClient) -> None:
    large = NewEvent("Large", b"x" * 1_048_576)
    with pytest.raises(MaximumAppendSizeExceededError):
        batch(client, StreamState.ANY, [large])
    with pytest.raises(GrpcError, match="Maximum Append Size"):
        one(client, StreamState.ANY, [large])


def test_deleting_needs_a_stream_and_a_tombstone_does_not(client: EventStoreDBClient) -> None:
    with pytest.raises(NotFound):
        client.delete_stream("a", current_version=StreamState.ANY)
    batch(client, StreamState.NO_STREAM, new(2))
    with pytest.raises(WrongCurrentVersion):
        client.delete_stream("a", current_version=0)
    client.delete_stream("a", current_version=1)
    with pytest.raises(StreamIsDeleted):
        batch(client, StreamState.EXISTS, new())
    batch(client, StreamState.NO_STREAM, new())
    assert client.get_stream_metadata("a")[0]["$tb"] == 2
    client.tombstone_stream("b", current_version=StreamState.ANY)
    for call in (
        lambda: client.get_stream("b"),
        lambda: client.get_stream_metadata("b"),
        lambda: client.delete_stream("b", current_version=StreamState.ANY),
        lambda: client.tombstone_stream("b", current_version=StreamState.ANY),
    ):
        with pytest.raises(StreamIsDeleted):
            call()


def test_streams_keep_as_many_events_as_their_metadata_say_and_all_keeps_all(client: EventStoreDBClient) -> None:
    batch(client, StreamState.NO_STREAM, new(5))
    client.set_stream_metadata("a", metadata={"$maxCount": 2})
    assert [event.stream_position for event in client.get_stream("a")] == [3, 4]
    with client.read_all() as events:
        assert len(list(events)) == 5


def test_reads_of_all_include_the_position_forwards_and_exclude_it_backwards(client: EventStoreDBClient) -> None:
    batch(client, StreamState.NO_STREAM, new(3))
    middle = client.get_stream("a")[1]
    with client.read_all(commit_position=middle.commit_position) as forwards:
        assert [event.stream_position for event in forwards] == [1, 2]
    with client.read_all(commit_position=middle.commit_position, backwards=True) as backwards:
        assert [event.stream_position for event in backwards] == [0]
    with client.subscribe_to_all(commit_position=middle.commit_position, include_caught_up=True) as following:
        assert next(following).stream_position == 2


def test_a_filtered_subscription_tells_where_it_is_and_when_it_has_caught_up(client: EventStoreDBClient) -> None:
    batch(client, StreamState.NO_STREAM, [*new(7, "Other"), *new(1, "Rare")])
    with client.subscribe_to_all(
        filter_include=["Rare"],
        include_checkpoints=True,
        include_caught_up=True,
        window_size=2,
        checkpoint_interval_multiplier=2,
    ) as following:
        told = [next(following) for _ in range(5)]
        kinds = [
            "checkpoint" if each.is_checkpoint else "caught up" if each.is_caught_up else each.type for each in told
        ]
        assert kinds == ["checkpoint", "checkpoint", "Rare", "checkpoint", "caught up"]
        assert told[-1].commit_position == 0
        batch(client, 7, new(1, "Rare"))
        assert next(following).type == "Rare"


def test_a_subscription_to_a_stream_hears_of_that_stream_only(client: EventStoreDBClient) -> None:
    batch(client, StreamState.NO_STREAM, new(2))
    client.append_to_stream("b", current_version=StreamState.NO_STREAM, events=new())
    with client.subscribe_to_stream("a", stream_position=0, include_caught_up=True) as following:
        assert next(following).stream_position == 1
        assert next(following).is_caught_up
        client.append_to_stream("b", current_version=0, events=new())
        batch(client, 1, new())
        assert next(following).stream_position == 2


def test_a_restart_keeps_the_log_and_forgets_what_any_was_compared_with(tmp_path: Path) -> None:
    events = new(2)
    node = Node(folder=tmp_path)
    with EventStoreDBClient(node.url) as client:
        answer = batch(client, StreamState.NO_STREAM, events)
        assert batch(client, StreamState.ANY, events) == answer
    node.stop()
    node = Node(folder=tmp_path)
    with EventStoreDBClient(node.url) as client:
        assert batch(client, StreamState.NO_STREAM, events) == answer
        assert batch(client, StreamState.ANY, events) > answer
        assert client.get_current_version("a") == 3
    node.stop()


def test_a_torn_transaction_at_the_end_of_the_journal_is_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "log.bin"
    journal = Journal(path)
    journal.write([b"one", b""])
    whole = path.stat().st_size
    journal.write([b"two" * 100])
    journal.close()
    with path.open("r+b") as file:
        file.truncate(whole + 20)
    journal = Journal(path)
    assert list(journal.read()) == [[b"one", b""]]
    journal.write([b"three"])
    journal.close()
    journal = Journal(path)
    assert list(journal.read()) == [[b"one", b""], [b"three"]]
    journal.close()
