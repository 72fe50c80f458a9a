"""The URL of a cluster: checked, so that the client is never given what it would misread or ignore."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import parse_qsl, urlencode

from esdbclient.connection_spec import NODE_PREFERENCE_LEADER, ConnectionSpec

from shared.errors import Refused

DEFAULTS = {
    "ConnectionName": "flotilla",
    "DefaultDeadline": "5",
    "GossipTimeout": "2",
    "MaxDiscoverAttempts": "3",
    "KeepAliveInterval": "10000",
    "KeepAliveTimeout": "10000",
}
"""What is added where the URL does not say it; times in seconds, those of keep-alive in milliseconds."""

_BEGIN = b"-----BEGIN CERTIFICATE-----"
_FILES = ("TlsCaFile", "UserCertFile", "UserKeyFile")


def checked(url: str) -> str:
    """The URL with our defaults. Raises ``Refused`` (``bad_setting``) without showing its password."""
    address, _, query = url.partition("?")
    shown = address.rpartition("@")[2] if "@" in address else address
    try:
        options = parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query))
        given = {name.lower() for name, _ in options}
        options += [(name, value) for name, value in DEFAULTS.items() if name.lower() not in given]
        full = f"{address}?{urlencode(options)}"
        spec = ConnectionSpec(full)
    except ValueError as problem:
        reason = str(problem).partition(": esdb")[0]  # behind it the client repeats the URL, password and all
        raise Refused("bad_setting", f"event store {shown}: {reason}") from None
    _check_options(shown, spec)
    return full


def _check_options(shown: str, spec: ConnectionSpec) -> None:
    options = spec.options
    if not options.TlsVerifyCert:
        raise Refused("bad_setting", f"event store {shown}: the client cannot switch off TlsVerifyCert; use TlsCaFile")
    if options.NodePreference != NODE_PREFERENCE_LEADER:
        raise Refused("bad_setting", f"event store {shown}: only NodePreference=leader reads what was just written")
    for name in _FILES:
        path = getattr(options, name)
        if path is not None and not Path(path).is_file():
            raise Refused("bad_setting", f"event store {shown}: {name} is no file: {path}")
    if options.TlsCaFile and _BEGIN not in Path(options.TlsCaFile).read_bytes():
        raise Refused("bad_setting", f"event store {shown}: TlsCaFile holds no certificate (PEM): {options.TlsCaFile}")
    if min(options.DefaultDeadline or 0, options.GossipTimeout, options.MaxDiscoverAttempts) < 1:
        raise Refused("bad_setting", f"event store {shown}: deadline, gossip timeout and attempts must be at least 1")
    if min(options.KeepAliveInterval or 0, options.KeepAliveTimeout or 0) < 1:
        raise Refused("bad_setting", f"event store {shown}: keep-alive must be at least 1 ms")
