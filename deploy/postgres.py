"""A private PostgreSQL server from the Debian package: own folder, port and password; ends with its starter.

For tests, benchmarks and demonstrations on one machine: it does not wait for the disk, so what it keeps outlives the
server but not a crash of the machine. Nothing of a server that the system runs is touched.
"""

from __future__ import annotations

import os
import pwd
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import IO

from deploy.packages import can_install, install
from deploy.rabbitmq import free_ports
from shared.errors import Misuse, Unavailable

HOST = "127.0.0.1"
USER = "flotilla"
"""The superuser inside the server."""
OWNER = "postgres"
"""The account of the package: the server refuses to run as root."""
INIT_TIMEOUT_S = 120.0
START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 20.0
SETTINGS = {
    "listen_addresses": HOST,
    "unix_socket_directories": "",
    "max_connections": "200",
    "shared_buffers": "64MB",
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "off",
    "timezone": "UTC",
}
PACKAGED = Path("/usr/lib/postgresql")
AS_OWNER = (
    sys.executable,
    "-ISc",
    "import ctypes, os, signal, sys\n"
    "user, group = map(int, sys.argv[1:3])\n"
    "if os.geteuid() != user: os.setgroups([]); os.setgid(group); os.setuid(user)\n"
    "ctypes.CDLL(None).prctl(1, signal.SIGINT)  # PR_SET_PDEATHSIG; the change of user would have cleared it\n"
    "os.execv(sys.argv[3], sys.argv[3:])",
)
"""In front of user, group and a command: runs it as them, and ends it when the thread that started it is gone."""


def find_server() -> Path | None:
    """The folder of ``postgres`` and ``initdb``: ``POSTGRES_BIN``, else the newest packaged one; None without any."""
    named = os.environ.get("POSTGRES_BIN")
    packaged = sorted((path for path in PACKAGED.glob("*/bin") if path.parent.name.isdecimal()), key=_version)
    for folder in [Path(named)] if named else reversed(packaged):
        if all(os.access(folder / program, os.X_OK) for program in ("postgres", "initdb")):
            return folder
    return None


def _version(path: Path) -> int:
    return int(path.parent.name)


def ensure_installed(tell: Callable[[str], None] = print) -> Path:
    """Install the package if it is not there and we may; says what it does. Raises ``Unavailable``."""
    found = find_server()
    if found is not None:
        return found
    if os.environ.get("POSTGRES_BIN") or not can_install():
        raise Unavailable("PostgreSQL is not installed: apt-get install postgresql, or set POSTGRES_BIN to its folder")
    install("postgresql", tell)
    found = find_server()
    if found is None:
        raise Unavailable("the package postgresql is installed, but its programs are not where they should be")
    return found


class PostgresServer:
    """One server with its data in ``folder``, which belongs to the package's account if we are root; started again, it
    is the same server with the same data at the same address."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()
        [self._port] = free_ports(1)
        self._password = ""
        self._server: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Of the database ``postgres``, as settings take it; known once it was started."""
        return f"postgresql+psycopg://{USER}:{self._password}@{HOST}:{self._port}/postgres"

    def start(self) -> None:
        """Returns when it takes connections. Raises ``Unavailable`` with the end of its log."""
        programs = find_server()
        if programs is None:
            raise Unavailable("PostgreSQL is not installed")
        if self._server is not None:
            raise Misuse("the server runs already")
        self._prepare()
        try:
            with (self.folder / "console.log").open("ab") as console:
                if not (self.folder / "data" / "PG_VERSION").exists():
                    self._initialize(programs, console)
                settings = [f"--{name}={value}" for name, value in SETTINGS.items()]
                command = [f"{programs}/postgres", "-D", "data", "-p", str(self._port), *settings]
                self._server = self._spawn(command, console)
            self._wait_until_ready()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End it with all its connections, by pid; safe to call twice, and before ``start``."""
        server, self._server = self._server, None
        if server is None or server.poll() is not None:
            return
        server.send_signal(signal.SIGINT)
        try:
            server.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait(STOP_TIMEOUT_S)

    def __enter__(self) -> PostgresServer:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, where: TracebackType | None
    ) -> None:
        self.stop()

    def _prepare(self) -> None:
        """The folder, its password and its owner."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        password = self.folder / "password"
        if not password.exists():
            password.touch(mode=0o600)
            password.write_text(secrets.token_hex(16))
        self._password = password.read_text()
        user, group = _owner()
        for path in (self.folder, password):
            os.chown(path, user, group)
        if user == os.geteuid():
            return
        for parent in self.folder.parents:
            if not parent.stat().st_mode & 0o001:
                raise Unavailable(f"the account {OWNER} cannot get to {self.folder}: {parent} keeps others out")

    def _initialize(self, programs: Path, console: IO[bytes]) -> None:
        command = [f"{programs}/initdb", "-D", "data", "-U", USER, "--pwfile=password", "--auth=scram-sha-256"]
        process = self._spawn([*command, "--encoding=UTF8", "--locale=C", "--no-sync"], console)
        try:
            process.wait(INIT_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(STOP_TIMEOUT_S)
        if process.returncode != 0:
            raise Unavailable(f"initdb ended with {process.returncode}: {self._tail()}")

    def _spawn(self, command: list[str], console: IO[bytes]) -> subprocess.Popen[bytes]:
        return subprocess.Popen(  # noqa: S603 - our own arguments
            [*AS_OWNER, *map(str, _owner()), *command],
            env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"},
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=console,
            stderr=subprocess.STDOUT,
        )

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline:
            if self._server is not None and self._server.poll() is not None:
                raise Unavailable(f"PostgreSQL ended with {self._server.returncode}: {self._tail()}")
            if self._says_ready():
                return
            time.sleep(0.05)
        raise Unavailable(f"PostgreSQL was not ready in {START_TIMEOUT_S:g} s: {self._tail()}")

    def _says_ready(self) -> bool:
        """What the server writes of itself, with its pid, so that a file left by another one is none."""
        try:
            lines = (self.folder / "data" / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return False
        return (
            len(lines) >= 8 and self._server is not None and lines[0] == str(self._server.pid) and "ready" in lines[7]
        )

    def _tail(self) -> str:
        return (self.folder / "console.log").read_text(errors="replace")[-2_000:]


def _owner() -> tuple[int, int]:
    """Who runs the server. Raises ``Unavailable`` if that cannot be us and the package's account is missing."""
    if os.geteuid() != 0:
        return os.geteuid(), os.getegid()
    try:
        account = pwd.getpwnam(OWNER)
    except KeyError:
        raise Unavailable(f"there is no account {OWNER}, and PostgreSQL does not run as root") from None
    return account.pw_uid, account.pw_gid
