"""Where the broker is: ``amqp://user:password@host:port,host:port/vhost?queues=quorum``.

Several hosts are the nodes of one cluster: whoever loses one goes to another. ``queues`` says of which kind the lasting
queues are (``queue_kinds``); the other options are those of pika, such as ``heartbeat``.
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from shared.bus.queue_kinds import KINDS, Kind
from shared.errors import Refused

SCHEMES = ("amqp", "amqps")
MAX_NODES = 16


@dataclass(frozen=True, slots=True)
class Address:
    """``nodes`` are URLs of one host each, as AMQP libraries read them."""

    nodes: tuple[str, ...]
    kind: Kind


def parse(url: str) -> Address:
    """Raises ``Refused`` (``bad_setting``) for what is no such URL."""
    parts = urlsplit(url)
    if parts.scheme not in SCHEMES:
        raise Refused("bad_setting", f"{parts.scheme!r} is no bus: it must be local: or amqp://…")
    options = dict(parse_qsl(parts.query))
    wanted = options.pop("queues", "classic")
    who, at, where = parts.netloc.rpartition("@")
    hosts = [host.strip() for host in where.split(",")]
    if not all(map(_is_host, hosts)) or len(hosts) > MAX_NODES:
        raise Refused("bad_setting", f"{where!r} in the bus URL must be host:port, or up to {MAX_NODES} of them")
    nodes = (urlunsplit((parts.scheme, f"{who}{at}{host}", parts.path, urlencode(options), "")) for host in hosts)
    return Address(tuple(nodes), kind(wanted))


def kind(name: str) -> Kind:
    """The kind of queues of this name. Raises ``Refused`` (``bad_setting``)."""
    if name not in KINDS:
        raise Refused("bad_setting", f"FLOTILLA_QUEUES must be {' or '.join(KINDS)}, not {name!r}")
    return KINDS[name]


def with_queues(url: str, queues: str) -> str:
    """The same address with this kind of queues, unless the URL names one itself. Raises ``Refused``."""
    parts = urlsplit(url)
    options = dict(parse_qsl(parts.query))
    named = kind(options.get("queues", queues)).name
    if named == "classic":
        return url
    return urlunsplit(parts._replace(query=urlencode(options | {"queues": named})))


def _is_host(text: str) -> bool:
    host, colon, port = text.rpartition(":")
    if not colon or text.endswith("]"):
        return bool(text)
    return bool(host) and port.isdigit() and 0 < int(port) < 65_536
