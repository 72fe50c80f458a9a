"""The one table of settings: environment variables ``FLOTILLA_<NAME>``; ``docs/settings.md`` is made from here."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from shared.errors import Refused


def _setting(default: Any, text: str) -> Any:
    return field(default=default, metadata={"text": text})


@dataclass(frozen=True, slots=True)
class Settings:
    """Where things are and how they behave. Ports: 0 means any free one; -1 means off."""

    data: Path = _setting(Path("data"), "folder for everything that embedded parts keep")
    store: str = _setting("", "event store: `sqlite:///path` (default: `<data>/events.db`) or `esdb://…`")
    mirror: str = _setting(
        "",
        "copy of the event store that rebuilds of views and past moments read first, in services and commands: "
        "`sqlite:///path`, see `flotilla events mirror`",
    )
    log: str = _setting("", "log of what devices publish: `sqlite:///path` (default: `<data>/<gateway>/log.db`)")
    bus: str = _setting(
        "local:", "message bus: `local:` (one process) or `amqp://user:password@host:port,host:port/vhost`"
    )
    queues: str = _setting("classic", "lasting queues of RabbitMQ: `classic`, or `quorum` (a cluster, or replicas)")
    db: str = _setting(
        "", "read models: `sqlite:///folder` (one file a service, default: `<data>/views`) or `postgresql+psycopg://…`"
    )
    past_copies: int = _setting(
        8, "past moments that each service keeps its views of, for `as_of`; at least 2, the least recently used goes"
    )
    keys: str = _setting(
        "",
        "keys of what is personal, apart from the event store and its backups: `sqlite:///folder` (one file, default: "
        "`<data>/keys`) or `postgresql+psycopg://…`; the same for all processes",
    )
    blobs: str = _setting(
        "",
        "firmware and import files: `file:///folder` (default: `<data>/blobs`), or "
        "`s3://bucket/prefix?endpoint=https://host:port&region=…` with credentials in `AWS_ACCESS_KEY_ID` and "
        "`AWS_SECRET_ACCESS_KEY`; the same for all processes",
    )
    gateway: str = _setting("a", "name of this gateway instance: lower-case letters, digits, `-`, `_`")
    host: str = _setting("127.0.0.1", "address that the gateway's listeners bind to")
    http_port: int = _setting(8080, "HTTP API")
    mqtt_port: int = _setting(1883, "MQTT without TLS")
    mqtts_port: int = _setting(-1, "MQTT over TLS (needs a certificate)")
    mqtt_ws_port: int = _setting(-1, "MQTT over WebSocket without TLS, path `/mqtt`")
    mqtt_wss_port: int = _setting(-1, "MQTT over WebSocket with TLS (needs a certificate), path `/mqtt`")
    particle_tcp_port: int = _setting(5683, "Particle's protocol over TCP (Photon, P0, P1, Core)")
    particle_udp_port: int = _setting(5684, "Particle's protocol over DTLS (Electron and later devices)")
    device_keys: str = _setting(
        "",
        "folder of the keys that Particle devices know this installation by, made at the first start; the same for all "
        "gateways (default: `<data>/device-keys`)",
    )
    update_transfers: int = _setting(500, "firmware images that a gateway transfers at once; other devices wait")
    update_bytes_per_s: int = _setting(
        0, "bytes of firmware a second that a gateway sends to all its devices together; 0: no limit"
    )
    update_device_bytes_per_s: int = _setting(0, "the same for each device; 0: no limit")
    connections_per_address: int = _setting(
        50_000, "connections of devices from one address (an IPv4 address or an IPv6 /64) to one gateway; 0: no limit"
    )
    streams_per_token: int = _setting(
        20, "event streams over HTTP that one login has open at one gateway, and one customer with all of theirs"
    )
    streams_per_organization: int = _setting(
        1_000, "the same of an organization's team, and of all its customers together"
    )
    drain_s: float = _setting(20.0, "seconds over which a gateway that is stopped ends its devices' sessions")
    tls_certificate: str = _setting("", "file with the certificate chain, PEM")
    tls_key: str = _setting("", "file with its private key, PEM")
    lease_s: int = _setting(15, "a gateway that is silent for so long has its devices put offline")
    workers: int = _setting(8, "worker threads of each service")
    public_clients: str = _setting(
        "particle,particle-api,particle-cli,CLI2,user",
        "OAuth clients that need no registration and no secret, for passwords and refresh tokens only",
    )
    mail: str = _setting("", "folder that mail is written to while there is no SMTP server (default: `<data>/mail`)")
    smtp: str = _setting(
        "", "SMTP server: `smtp://user:password@host:port?tls=required` (or `optional`, `off`), or `smtps://…`"
    )
    mail_from: str = _setting("Flotilla <no-reply@localhost>", "what mail comes from: a name and an address")
    mail_per_minute: int = _setting(0, "mails a minute that are sent at most, after the first 20; 0: no limit")
    url: str = _setting("", "where people and devices reach the gateway, for links in mail (default: its own address)")
    trusted_proxies: str = _setting(
        "127.0.0.1,::1",
        "addresses and networks of proxies whose `X-Forwarded-For` says where an HTTP call comes from (empty: none)",
    )
    hooks_allow: str = _setting(
        "",
        "addresses and networks that webhooks may be delivered to though they are loopback, private, link-local or of "
        "another special kind: `127.0.0.0/8,10.1.2.3` (empty: none)",
    )
    payments: str = _setting(
        "",
        "who keeps cards and moves money: `stripe:` (default if there is a key), `sandbox:` (default without one: an "
        "independent fake of Stripe, started beside the platform, no real money), `sandbox:http://host:port` (one that "
        "runs already) or `off:` (nobody is billed, an organization needs no card)",
    )
    stripe_key: str = _setting("", "secret key of Stripe, restricted to what `docs/billing.md` lists")
    stripe_publishable_key: str = _setting("", "the key that browsers give to Stripe's card form")
    stripe_webhook_secrets: str = _setting(
        "", "secrets of the webhook endpoint `/v1/hooks/stripe`, with commas between them while one is being replaced"
    )
    log_level: str = _setting("info", "`debug`, `info`, `warning` or `error`")

    @classmethod
    def load(cls, environ: Mapping[str, str] | None = None, **given: Any) -> Settings:
        """From the environment, overridden by ``given``; empty URLs become their defaults. Raises ``Refused`` for an
        unknown ``FLOTILLA_`` variable or a value of the wrong kind."""
        source = os.environ if environ is None else environ
        values: dict[str, Any] = {}
        known = {f"FLOTILLA_{entry.name.upper()}": entry for entry in dataclasses.fields(cls)}
        for name, text in source.items():
            if name.startswith("FLOTILLA_") and not name.startswith("FLOTILLA_TEST_"):
                if name not in known:
                    raise Refused("unknown_setting", f"{name} is no setting; see docs/settings.md")
                values[known[name].name] = _typed(known[name], name, text)
        values.update({name: value for name, value in given.items() if value is not None})
        return cls(**values)._with_defaults()

    def _with_defaults(self) -> Settings:
        data = self.data.absolute()
        return dataclasses.replace(
            self,
            data=data,
            store=self.store or f"sqlite:///{data / 'events.db'}",
            log=self.log or f"sqlite:///{data / f'gateway-{self.gateway}' / 'log.db'}",
            db=self.db or f"sqlite:///{data / 'views'}",
            keys=self.keys or f"sqlite:///{data / 'keys'}",
            blobs=self.blobs or f"file://{data / 'blobs'}",
            device_keys=self.device_keys or str(data / "device-keys"),
            mail=self.mail or str(data / "mail"),
            url=self.url or f"http://{self.host}:{self.http_port}",
            payments=self.payments or ("stripe:" if self.stripe_key else "sandbox:"),
        )

    def environment(self) -> dict[str, str]:
        """The same settings as environment variables, for a child process."""
        return {f"FLOTILLA_{entry.name.upper()}": str(getattr(self, entry.name)) for entry in dataclasses.fields(self)}


def _typed(entry: dataclasses.Field[Any], name: str, text: str) -> Any:
    kind: type = type(entry.default)
    try:
        return kind(text)
    except ValueError:
        raise Refused("bad_setting", f"{name} must be of the kind {kind.__name__}, not {text!r}") from None


def table() -> str:
    """All settings as a Markdown table."""
    lines = ["| variable | default | meaning |", "|---|---|---|"]
    for entry in dataclasses.fields(Settings):
        shown = f"`{entry.default}`" if str(entry.default) else ""
        lines.append(f"| `FLOTILLA_{entry.name.upper()}` | {shown} | {entry.metadata['text']} |")
    return "\n".join(lines)
