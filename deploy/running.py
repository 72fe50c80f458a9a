"""What runs on a data folder, in ``<data>/run/``: one file a process, written when it is ready, removed when it ends.

The folder's lock keeps a second platform off the same data; the files tell tools where the platform listens.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec

from shared.errors import Refused, Unavailable


class Process(msgspec.Struct, frozen=True):
    """One process. ``http`` and where devices connect (host and port) only for those that hold a gateway, ``bus`` (the
    broker's URL) for the supervisor."""

    name: str
    pid: int
    http: str | None = None
    mqtt: tuple[str, int] | None = None
    bus: str | None = None
    particle: tuple[str, int] | None = None
    particle_udp: tuple[str, int] | None = None
    mqtts: tuple[str, int] | None = None
    mqtt_ws: tuple[str, int] | None = None
    mqtt_wss: tuple[str, int] | None = None


@dataclass(frozen=True, slots=True)
class DataFolder:
    """The folder with everything that a platform keeps."""

    path: Path

    @property
    def run(self) -> Path:
        """Where the process files are."""
        return self.path / "run"

    @property
    def unfinished(self) -> Path:
        """A file that is there while a backup is restored into this folder, and stays if that does not end."""
        return self.path / "unfinished-restore"

    @contextmanager
    def claimed(self) -> Iterator[None]:
        """Make the folder and keep others off it. Raises ``Refused`` if somebody has it, or if a restore into it did
        not end: what is there then is a part of a platform."""
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.run.mkdir(exist_ok=True)
        with (self.path / "lock").open("w", encoding="utf-8") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise Refused(
                    "data_in_use", f"another Flotilla runs on {self.path}; stop it or choose --data"
                ) from None
            if self.unfinished.exists():
                reason = f"a restore into {self.path} did not end: repeat it, or delete the folder"
                raise Refused("unfinished_restore", reason)
            for left in [*self.run.glob("*.json"), *self.run.glob("*.health")]:
                left.unlink()
            yield

    def announce(self, process: Process) -> None:
        """Say that a process is ready; visible at once and whole."""
        self.run.mkdir(parents=True, exist_ok=True)
        draft = self.run / f".{process.name}.{os.getpid()}"
        draft.touch(mode=0o600)  # the broker's URL holds a password
        draft.write_bytes(msgspec.json.encode(process))
        draft.rename(self.run / f"{process.name}.json")

    def withdraw(self, name: str) -> None:
        """It is not ready any more."""
        (self.run / f"{name}.json").unlink(missing_ok=True)

    def processes(self) -> list[Process]:
        """All that have said they are ready and whose process exists, by name."""
        found = []
        for path in sorted(self.run.glob("*.json")):
            process = msgspec.json.decode(path.read_bytes(), type=Process)
            if Path(f"/proc/{process.pid}").exists() or not Path("/proc").exists():
                found.append(process)
        return found

    def gateways(self) -> list[Process]:
        """Those of them that hold a gateway."""
        return [process for process in self.processes() if process.http]

    def running_gateways(self) -> list[Process]:
        """The same. Raises ``Unavailable`` if there is none."""
        found = self.gateways()
        if not found:
            hint = "start one with `flotilla run` or `flotilla up`, or give --data"
            raise Unavailable(f"no platform runs on {self.path}; {hint}")
        return found
