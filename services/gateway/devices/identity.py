"""What a device says it is: product, version, and the words it said it in. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from services.gateway.entries import DeviceEntry


@dataclass(frozen=True, slots=True)
class Identity:
    """The product, version, title and version text that a device reported last; ``ever``: it has reported any."""

    product: int | None
    version: int | None
    title: str
    text: str
    ever: bool

    @classmethod
    def of(cls, entry: DeviceEntry) -> Identity:
        """As the directory knows it."""
        return cls(
            entry.reported_product,
            entry.reported_version,
            entry.reported_title,
            entry.reported_text,
            entry.ever_reported,
        )
