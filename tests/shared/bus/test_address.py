"""Where the broker is, read from one URL."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.bus.address import Address, parse, with_queues
from shared.bus.queue_kinds import CLASSIC, QUORUM
from shared.errors import Refused

HOSTS = st.from_regex(r"[a-z][a-z0-9-]{0,10}(:[1-9][0-9]{0,3})?", fullmatch=True)


def test_one_host_is_the_url_itself() -> None:
    for url in ("amqp://guest:guest@127.0.0.1:5672/%2F", "amqps://u:p%40x@broker/fleet", "amqp://[::1]:5672/x"):
        assert parse(url) == Address((url,), CLASSIC)


@given(st.lists(HOSTS, min_size=1, max_size=16), st.sampled_from(["classic", "quorum"]))
def test_every_host_is_a_node_with_the_same_user_vhost_and_options(hosts: list[str], queues: str) -> None:
    found = parse(f"amqp://u:p%2C@{','.join(hosts)}/fleet?heartbeat=4&queues={queues}")
    assert found.nodes == tuple(f"amqp://u:p%2C@{host}/fleet?heartbeat=4" for host in hosts)
    assert found.kind.name == queues


def test_the_kind_is_added_unless_the_url_names_one() -> None:
    assert with_queues("amqp://a/x", "classic") == "amqp://a/x"
    assert parse(with_queues("amqp://a,b/x?heartbeat=4", "quorum")) == Address(
        ("amqp://a/x?heartbeat=4", "amqp://b/x?heartbeat=4"), QUORUM
    )
    assert parse(with_queues("amqp://a/x?queues=quorum", "classic")).kind is QUORUM


@pytest.mark.parametrize(
    "url", ["http://a/", "amqp://a,,b/", "amqp:///x", "amqp://a:0/", "amqp://a:http/", "amqp://a?queues=stream"]
)
def test_anything_else_is_refused(url: str) -> None:
    with pytest.raises(Refused) as refused:
        parse(url)
    assert refused.value.code == "bad_setting"


def test_more_nodes_than_a_cluster_has_are_refused() -> None:
    with pytest.raises(Refused, match="up to 16"):
        parse("amqp://" + ",".join(f"h{number}" for number in range(17)))
