"""What a platform that has just started says to whoever started it: where it listens, and what to do next. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from deploy.running import Process
from shared.settings import Settings

HERE_ONLY = ("127.0.0.1", "localhost", "::1")


def lines(settings: Settings, gateways: Sequence[Process]) -> list[str]:
    """Where it listens, each kind of listener that there is."""
    urls = [str(one.http) for one in gateways]
    listeners = (
        ("MQTT", "", [one.mqtt for one in gateways]),
        ("MQTT", " (TLS)", [one.mqtts for one in gateways]),
        ("MQTT", " (WebSocket)", [one.mqtt_ws for one in gateways]),
        ("MQTT", " (WebSocket, TLS)", [one.mqtt_wss for one in gateways]),
        ("Particle", " (TCP)", [one.particle for one in gateways]),
        ("Particle", " (UDP)", [one.particle_udp for one in gateways]),
    )
    return [
        f"\nFlotilla is ready. Data: {settings.data}",
        f"  API      {', '.join(urls)}   (documented at {urls[0]}/openapi.json)",
        *(f"  {name:8} {_addresses(places)}{kind}" for name, kind, places in listeners if any(places)),
    ]


def hints(settings: Settings, gateways: Sequence[Process], program: str) -> list[str]:
    """What to do next, and what only the settings can change."""
    found = [
        f"  next     {program} demo --running · {program} events tail --follow · {program} doctor",
        "  stop     Ctrl-C; the next start finds everything again",
    ]
    here, plain = settings.host in HERE_ONLY, not any(one.mqtts or one.mqtt_wss for one in gateways)
    if here and plain:
        change = "FLOTILLA_HOST, and FLOTILLA_MQTTS_PORT with FLOTILLA_TLS_*, change that"
        found.append(f"  listens  on this machine only, without TLS; {change}")
    elif here:
        found.append("  listens  on this machine only; FLOTILLA_HOST changes that")
    return found


def _addresses(places: Sequence[tuple[str, int] | None]) -> str:
    return ", ".join(f"{place[0]}:{place[1]}" for place in places if place is not None)
