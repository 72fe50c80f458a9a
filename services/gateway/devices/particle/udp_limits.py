"""Limits of the UDP listener and of what is stored of its sessions. Pure. (Those of handshakes are ``DtlsLimits``.)"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class UdpLimits:
    """Times in seconds."""

    tick_s: float = 0.05
    """What is due is looked for this often,"""
    step_s: float = 0.01
    """and for a session that wants to be woken before that, within this of its moment: it paces chunks of firmware."""
    socket_buffer_bytes: int = 4 * 1024 * 1024
    """Asked of the kernel for what arrives in one turn of the loop; it gives ``net.core.rmem_max`` at most."""
    turn_datagrams: int = 64
    """Taken in one turn of the loop from each socket."""
    woken_at_once: int = 200
    """Sessions woken in one turn of the loop."""
    save_s: float = 1.0
    """A session that received something is stored again within this."""
    saves_at_once: int = 500
    """Sessions exported in one turn of the loop."""
    held_messages: int = 32
    """Messages to one device that wait until its session is stored."""


@dataclass(frozen=True, slots=True)
class StoreLimits:
    """Of the store of sessions."""

    age_s: float = 30 * 86_400.0
    """A session from which nothing came for so long is forgotten."""
    sessions: int = 500_000
    """With more, those that were silent longest are forgotten."""
    collect_s: float = 0.02
    """Changes are collected for so long before they are written."""
    again_s: float = 1.0
    """Pause before what could not be written is tried again."""
    prune_rows: int = 10_000
    """After so many rows were written, and at the start, those above the limits are deleted."""
