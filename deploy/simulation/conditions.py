"""Under what conditions a simulated fleet lives: how often it speaks, what fails, how good its links are. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from deploy.simulation.chance import Chance

UpdateFate = Literal["succeeds", "refused", "dies", "old version"]
"""The device takes it; does not want it; goes out in the middle; comes back with the version that it had."""
FAILURES: tuple[UpdateFate, ...] = ("refused", "dies", "old version")
LinkFate = Literal["holds", "drops", "goes half-open"]

BREAKS_AFTER_S = (1.0, 30.0)
"""When a bad link breaks."""
HALF_OPEN_S = 60.0
"""How long the old end of a half-open link stays open, and silent, if the other side does not close it."""
OUT_S = 2.0
"""How long a device is out that died in the middle of an update."""


@dataclass(frozen=True, slots=True)
class Conditions:
    """``failing_updates`` and ``flaky`` are shares of 1, of all updates and of all connections. ``reboot_every_s`` is a
    mean; None means never."""

    telemetry_every_s: float = 5.0
    failing_updates: float = 0.0
    flaky: float = 0.0
    reboot_every_s: float | None = None
    restart_s: float = 0.3
    seed: int = 0

    def chance_of(self, device_id: str) -> Chance:
        """The chance that this device has in this run."""
        return Chance(self.seed, device_id)

    def update_fate(self, chance: Chance) -> UpdateFate:
        """What becomes of an update."""
        return FAILURES[chance.below(len(FAILURES))] if chance.happens(self.failing_updates) else "succeeds"

    def link_fate(self, chance: Chance) -> LinkFate:
        """What becomes of a connection."""
        if not chance.happens(self.flaky):
            return "holds"
        return "drops" if chance.happens(0.5) else "goes half-open"

    def around(self, mean_s: float, chance: Chance) -> float:
        """A time near the mean, so that devices do not do the same at the same moment."""
        return mean_s * chance.uniform(0.5, 1.5)
