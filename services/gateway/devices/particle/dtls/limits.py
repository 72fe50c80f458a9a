"""How much an endpoint does for whom, before and after it knows them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class DtlsLimits:
    """Of one endpoint. The bounds of single records and messages are constants of their modules."""

    handshake_s: float = 10.0
    """From the ClientHello with its cookie to the device's Finished (9)."""
    handshakes: int = 4_096
    """In flight; more are not begun, the device asks again."""
    handshakes_per_host: int = 256
    """In flight from one host; one port has one. Devices of one carrier may share a host."""
    handshakes_per_s: int = 1_000
    """Begun, each worth 0.3 ms of private-key operations; a whole second's worth may begin at once."""
    handshakes_per_host_per_s: int = 100
    """Begun for one host, so that one that begins again and again takes nothing from the others."""
    flight_first_s: float = 2.0
    """Until our flight is sent again; doubles each time."""
    flight_longest_s: float = 8.0
    flight_repeats: int = 6
    """How often our flight is sent again in all, on time or because the peer seems to miss it."""
    cookie_s: float = 60.0
    """Age at which the secret of cookies is changed; the one before is still good, so a cookie lives 60 to 120 s."""
    sessions: int = 200_000
    """In memory; with more, new handshakes are refused."""
    bind_s: float = 30.0
    """Until the layer above must have said whose a new session is."""
    lookups_per_s: int = 2_000
    """Questions to the store because of unknown ids or addresses; anyone can cause one."""
