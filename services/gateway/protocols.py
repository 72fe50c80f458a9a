"""The device protocols that a gateway serves, by its settings: the only module that names them beside their folders.

A further protocol is a folder in ``devices/``, its ports in ``ports`` and its listener in ``serve``.
"""

from __future__ import annotations

import asyncio
import ssl
from datetime import datetime
from pathlib import Path

from services.gateway.devices.mqtt.listener import MqttListener
from services.gateway.devices.particle.describing_fact import Remembered
from services.gateway.devices.particle.listener import ParticleListener
from services.gateway.devices.particle.server_keys import ServerKeys, load_or_make
from services.gateway.devices.particle.session_store import SessionStore
from services.gateway.devices.particle.udp import ParticleUdpListener
from services.gateway.devices.ports import Provisioner
from services.gateway.devices.server import DeviceServer
from services.gateway.epochs import Port
from shared.clock import Clock
from shared.errors import Refused
from shared.settings import Settings


class Protocols:
    """What the listeners of one epoch leave to those of the next is here."""

    def __init__(self, settings: Settings, provisioner: Provisioner, clock: Clock) -> None:
        self._settings = settings
        self._provisioner = provisioner
        self._clock = clock
        self._described = Remembered()
        self._keys: ServerKeys | None = None
        self.kept_sessions: SessionStore | None = None

    async def open(self) -> None:
        """Have keys and kept sessions of Particle devices, if any are served. Raises ``Refused``, ``Unavailable``."""
        settings = self._settings
        if settings.particle_tcp_port >= 0 or settings.particle_udp_port >= 0:
            self._keys = await asyncio.to_thread(load_or_make, Path(settings.device_keys))
        if self._keys is not None and settings.particle_udp_port >= 0:
            path = settings.data / f"gateway-{settings.gateway}" / "particle-sessions.db"
            self.kept_sessions = await asyncio.to_thread(SessionStore, path, self._keys.ec, clock=self._clock)

    async def close(self) -> None:
        """Have what is kept on disk; behind the listeners of the last epoch."""
        if self.kept_sessions is not None:
            await self.kept_sessions.stop()

    def serve(self, server: DeviceServer) -> None:
        """Give the device side of an epoch its listeners."""
        mqtt = MqttListener(server, provisioner=self._provisioner)
        server.serve(dict.fromkeys(("mqtt", "mqtts", "mqtt-ws", "mqtt-wss"), mqtt))
        if self._keys is not None:
            particle = ParticleListener(server, self._keys.rsa, remembered=self._described)
            server.serve({"particle-tcp": particle})
        if self._keys is not None and self.kept_sessions is not None:
            udp = ParticleUdpListener(server, self._keys.ec, self.kept_sessions, remembered=self._described)
            server.serve({"particle-udp": udp})

    def connected_elsewhere(self, device_id: str, connected_at: datetime) -> None:
        """The device has a session at another gateway: what is kept here of older ones is of no use."""
        if self.kept_sessions is not None:
            self.kept_sessions.outdated(bytes.fromhex(device_id), connected_at)


def ports(settings: Settings) -> list[Port]:
    """Where devices connect. Raises ``Refused`` for TLS without a certificate that can be used."""
    numbers = {
        "mqtt": settings.mqtt_port,
        "mqtts": settings.mqtts_port,
        "mqtt-ws": settings.mqtt_ws_port,
        "mqtt-wss": settings.mqtt_wss_port,
        "particle-tcp": settings.particle_tcp_port,
        "particle-udp": settings.particle_udp_port,
    }
    encrypted = ("mqtts", "mqtt-wss")
    return [
        Port(kind, number, _tls(settings) if kind in encrypted else None)
        for kind, number in numbers.items()
        if number >= 0
    ]


def _tls(settings: Settings) -> ssl.SSLContext:
    if not settings.tls_certificate:
        raise Refused("bad_setting", "MQTT over TLS needs FLOTILLA_TLS_CERTIFICATE and FLOTILLA_TLS_KEY")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(settings.tls_certificate, settings.tls_key or None)
    except (OSError, ssl.SSLError) as error:
        raise Refused("bad_setting", f"the certificate {settings.tls_certificate!r} cannot be used: {error}") from error
    return context
