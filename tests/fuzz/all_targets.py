"""All that is fuzzed."""

from __future__ import annotations

from dataclasses import replace

from tests.fuzz import mqtt_machines, particle_machines
from tests.fuzz.codecs import CODECS
from tests.fuzz.targets import Target

MACHINES_SHARE = 6
"""Their inputs take longer, and there is more to find."""

TARGETS: tuple[Target, ...] = (
    *CODECS,
    *(replace(one, share=MACHINES_SHARE) for one in (*mqtt_machines.MACHINES, *particle_machines.MACHINES)),
)
