"""Installing a server from the distribution's packages, where that can be done."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable

from shared.errors import Unavailable

TIMEOUT_S = 600


def can_install() -> bool:
    """Whether we are root on a system with apt."""
    return os.geteuid() == 0 and shutil.which("apt-get") is not None


def install(package: str, tell: Callable[[str], None]) -> None:
    """Install a package without starting its service; says what it does. Raises ``Unavailable``."""
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    for command in (["update"], ["install", "-y", "--no-install-recommends", package]):
        tell(f"apt-get {' '.join(command)}")
        done = subprocess.run(["apt-get", "-q", *command], env=environment, timeout=TIMEOUT_S, check=False)  # noqa: S603, S607
        if done.returncode != 0:
            raise Unavailable(f"apt-get {' '.join(command)} failed with {done.returncode}")
