"""A directory and a desk for sessions of Particle devices."""

from __future__ import annotations

import pytest

from tests.gateway.devices.particle.desk import Desk, ParticleDirectory


@pytest.fixture
def directory() -> ParticleDirectory:
    made = ParticleDirectory()
    made.add()
    return made


@pytest.fixture
def desk(directory: ParticleDirectory) -> Desk:
    return Desk(directory)
