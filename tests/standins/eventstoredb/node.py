"""A server on the loopback, and several of them with one log as a cluster."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
from esdbclient.protos.Grpc import gossip_pb2_grpc, streams_pb2_grpc

from tests.standins.eventstoredb.faults import Faults
from tests.standins.eventstoredb.guard import Secured
from tests.standins.eventstoredb.log import Log
from tests.standins.eventstoredb.service import Gossip, Streams

HOST = "127.0.0.1"
THREADS = 64
"""Calls at the same time; each subscription is one."""
MAX_MESSAGE_BYTES = 17 * 1024 * 1024
STOP_S = 5.0


class Node:
    """Listens as soon as it is made. ``port`` 0 is any free one; with a ``folder`` its log outlives it. ``url`` is for
    clients without TLS; one that is ``secured`` takes none."""

    def __init__(
        self,
        port: int = 0,
        folder: Path | None = None,
        *,
        cluster: Cluster | None = None,
        secured: Secured | None = None,
    ) -> None:
        self.secured = secured
        self.faults = Faults()
        self.cluster = cluster
        self.log = cluster.log if cluster else Log(folder)
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="eventstoredb stand-in")
        self._server = grpc.server(
            self._threads,
            interceptors=(secured.interceptor(),) if secured else (),
            options=(
                ("grpc.so_reuseport", 0),
                ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
                ("grpc.keepalive_permit_without_calls", 1),
                ("grpc.http2.min_recv_ping_interval_without_data_ms", 1),
                ("grpc.http2.max_ping_strikes", 0),
            ),
        )
        self._streams = Streams(self.log, self.faults, self._other_leader)
        streams_pb2_grpc.add_StreamsServicer_to_server(self._streams, self._server)  # type: ignore[no-untyped-call]
        gossip_pb2_grpc.add_GossipServicer_to_server(Gossip(self._members), self._server)  # type: ignore[no-untyped-call]
        address = f"{HOST}:{port}"
        if secured is None:
            self.port: int = self._server.add_insecure_port(address)
        else:
            self.port = self._server.add_secure_port(address, secured.credentials(HOST))
        self._server.start()

    @property
    def url(self) -> str:
        return f"esdb://{HOST}:{self.port}?Tls=false"

    def begin_anew(self) -> None:
        """With an empty log, and no faults."""
        self.log.close()
        self.log = self._streams.log = Log()
        self.faults = self._streams.faults = Faults()

    def stop(self) -> None:
        """All calls are cut."""
        stopped = self._server.stop(grace=None)
        with self.log.changed:
            self.log.changed.notify_all()
        if not stopped.wait(STOP_S):
            raise TimeoutError("the stand-in does not stop")
        self._threads.shutdown(cancel_futures=True)
        if self.cluster is None:
            self.log.close()

    def _other_leader(self) -> tuple[str, int] | None:
        leader = self.cluster.leader if self.cluster else self
        return None if leader is self else (HOST, leader.port)

    def _members(self) -> list[tuple[str, int, bool]]:
        if self.cluster is None:
            return [(HOST, self.port, True)]
        return [(HOST, node.port, node is self.cluster.leader) for node in self.cluster.nodes]


class Cluster:
    """Nodes that replicate in no time, because they share a log; ``leader`` may be set."""

    def __init__(self, size: int, *, secured: Secured | None = None) -> None:
        self.log = Log()
        self.nodes = [Node(cluster=self, secured=secured) for _ in range(size)]
        self.leader = self.nodes[0]

    @property
    def url(self) -> str:
        return f"esdb://{','.join(f'{HOST}:{node.port}' for node in self.nodes)}?Tls=false"

    def stop(self) -> None:
        for node in self.nodes:
            node.stop()
        self.log.close()
