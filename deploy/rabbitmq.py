"""A private RabbitMQ node from the Debian package: own folder, ports, cookie and epmd; ends with its starter. And a
cluster of such nodes on this machine, for tests.

For tests, demonstrations and ``flotilla up`` on one machine. Nothing of a node that the system runs is touched. (Longer
than most modules: what a node and a cluster need of Erlang's environment is in one place.)
"""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO
from uuid import uuid4

import psutil

from deploy.packages import can_install, install
from shared.errors import Misuse, Unavailable

HOST = "127.0.0.1"
START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 20.0
CONTROL_TIMEOUT_S = 30.0
PORT_ATTEMPTS = 3
"""A port that was free when it was chosen may be somebody's when the node, a second later, wants it."""
PORT_TAKEN = ("port_already_used", "eaddrinuse", "could_not_start_listener")
PORTS = range(20_000, 32_000)
"""Below those that Linux gives to connections, one of which may take a port between its choice and its use."""
ERLANG_ARGUMENTS = "-start_epmd false +S 2:2 +sbwt none -kernel inet_dist_use_interface {127,0,0,1}"
"""Other nodes and ``rabbitmqctl`` reach it over the loopback only."""
AMQP_HEADER = b"AMQP\x00\x00\x09\x01"
METHOD_FRAME = 1
ENDS_WITH_PARENT = (
    sys.executable,
    "-ISc",
    "import ctypes, os, signal, sys\n"
    "ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG\n"
    "os.execvp(sys.argv[1], sys.argv[1:])",
)
"""In front of a command: the kernel ends it when the thread that started it is gone, however that happens."""
PACKAGED = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
"""The script itself; the one in ``sbin`` changes user and forgets the environment."""


def find_server() -> Path | None:
    """The server's start script: ``RABBITMQ_SERVER_BIN``, else where the package puts it; None if there is none."""
    named = os.environ.get("RABBITMQ_SERVER_BIN")
    path = Path(named) if named else PACKAGED
    return path if os.access(path, os.X_OK) and shutil.which("epmd") else None


def ensure_installed(tell: Callable[[str], None] = print) -> Path:
    """Install the package if it is not there and we may; says what it does. Raises ``Unavailable``."""
    found = find_server()
    if found is not None:
        return found
    if not can_install():
        raise Unavailable("RabbitMQ is not installed: apt-get install rabbitmq-server, or set RABBITMQ_SERVER_BIN")
    install("rabbitmq-server", tell)
    found = find_server()
    if found is None:
        raise Unavailable("the package rabbitmq-server is installed, but its start script is not where it should be")
    return found


@dataclass(frozen=True, slots=True)
class Together:
    """What the nodes of a cluster share: cookie, the port of the one epmd, their names. ``leads`` runs the epmd."""

    home: Path
    epmd_port: int
    names: Sequence[str]
    leads: bool


class RabbitNode:
    """One node with its data in ``folder``, where it is the same node whenever it is started, with all that its queues
    kept; this object has it at one address."""

    def __init__(self, folder: Path, *, name: str | None = None, together: Together | None = None) -> None:
        self.folder = folder.absolute()
        self.name = name or _lasting_name(self.folder)
        self._port, self._distribution_port, own_epmd_port = free_ports(3)
        self._together = together or Together(self.folder / "home", own_epmd_port, [self.name], leads=True)
        self._epmd: subprocess.Popen[bytes] | None = None
        self._server: subprocess.Popen[bytes] | None = None

    @property
    def host(self) -> str:
        """Host and port, as in a URL."""
        return f"{HOST}:{self._port}"

    @property
    def url(self) -> str:
        """Of the default virtual host."""
        return f"amqp://guest:guest@{HOST}:{self._port}/%2F"

    def start(self) -> None:
        """Returns when it speaks AMQP. Raises ``Unavailable`` with the end of its log."""
        for left in reversed(range(PORT_ATTEMPTS)):
            self.begin()
            try:
                self.wait_until_ready()
                return
            except BaseException as error:
                self.stop()
                if not left or not any(sign in str(error) for sign in PORT_TAKEN):
                    raise
            self._port, self._distribution_port = free_ports(2)

    def begin(self) -> None:
        """Start without waiting. Raises ``Unavailable`` if RabbitMQ is not installed."""
        server = find_server()
        if server is None:
            raise Unavailable("RabbitMQ is not installed")
        if self._server is not None:
            raise Misuse("the node runs already")
        self._prepare()
        try:
            with (self.folder / "console.log").open("ab") as console:
                if self._together.leads and self._epmd is None:
                    epmd = ["epmd", "-port", str(self._together.epmd_port), "-address", HOST]
                    self._epmd = self._spawn(epmd, console)
                self._server = self._spawn([str(server)], console)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End in order, by pid; safe to call twice, and before ``start``."""
        for process in (self._server, self._epmd):
            if process is not None:
                _end(process)
        self._server = self._epmd = None

    def kill(self) -> None:
        """End the server at once, as a crash would; ``start`` brings it back."""
        if self._server is None:
            return
        for process in [*psutil.Process(self._server.pid).children(recursive=True), self._server]:
            process.kill()
        self._server.wait(STOP_TIMEOUT_S)
        self._server = None

    def add_vhost(self, name: str) -> str:
        """Make a virtual host; its URL."""
        self.control("add_vhost", name)
        self.control("set_permissions", "-p", name, "guest", ".*", ".*", ".*")
        return f"amqp://guest:guest@{HOST}:{self._port}/{name}"

    def control(self, *arguments: str) -> str:
        """Run ``rabbitmqctl``; what it printed. Raises ``Unavailable``."""
        server = find_server() or PACKAGED
        command = [str(server.with_name("rabbitmqctl")), "-q", "-n", self.name, *arguments]
        done = subprocess.run(  # noqa: S603 - our own arguments
            command, env=self._environment(), capture_output=True, text=True, timeout=CONTROL_TIMEOUT_S, check=False
        )
        if done.returncode != 0:
            raise Unavailable(f"rabbitmqctl {arguments[0]}: {done.stderr.strip() or done.stdout.strip()}")
        return done.stdout

    def __enter__(self) -> RabbitNode:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, where: TracebackType | None
    ) -> None:
        self.stop()

    def _prepare(self) -> None:
        for name in ("mnesia", "log", "schema", "config"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        self._together.home.mkdir(parents=True, exist_ok=True)
        lines = [f"listeners.tcp.1 = {self.host}", "log.file.level = warning"]
        if len(self._together.names) > 1:
            nodes = enumerate(self._together.names, 1)
            lines.append("cluster_formation.peer_discovery_backend = classic_config")
            lines += [f"cluster_formation.classic_config.nodes.{number} = {name}" for number, name in nodes]
        (self.folder / "rabbitmq.conf").write_text("".join(f"{line}\n" for line in lines))
        (self.folder / "enabled_plugins").write_text("[].\n")

    def _environment(self) -> dict[str, str]:
        folder = str(self.folder)
        keep = {name: value for name, value in os.environ.items() if not name.startswith(("RABBITMQ_", "ERL_"))}
        return keep | {
            "HOME": str(self._together.home),
            "RABBITMQ_NODENAME": self.name,
            "RABBITMQ_NODE_IP_ADDRESS": HOST,
            "RABBITMQ_NODE_PORT": str(self._port),
            "RABBITMQ_DIST_PORT": str(self._distribution_port),
            "RABBITMQ_MNESIA_BASE": f"{folder}/mnesia",
            "RABBITMQ_LOG_BASE": f"{folder}/log",
            "RABBITMQ_SCHEMA_DIR": f"{folder}/schema",
            "RABBITMQ_GENERATED_CONFIG_DIR": f"{folder}/config",
            "RABBITMQ_PID_FILE": f"{folder}/pid",
            "RABBITMQ_CONFIG_FILE": f"{folder}/rabbitmq",
            "RABBITMQ_CONF_ENV_FILE": "/dev/null",
            "RABBITMQ_ENABLED_PLUGINS_FILE": f"{folder}/enabled_plugins",
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": ERLANG_ARGUMENTS,
            "ERL_EPMD_PORT": str(self._together.epmd_port),
            "ERL_EPMD_ADDRESS": HOST,
        }

    def _spawn(self, command: list[str], console: IO[bytes]) -> subprocess.Popen[bytes]:
        return subprocess.Popen(  # noqa: S603 - our own arguments
            [*ENDS_WITH_PARENT, *command],
            env=self._environment(),
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=console,
            stderr=subprocess.STDOUT,
        )

    def wait_until_ready(self) -> None:
        """Returns when it speaks AMQP. Raises ``Unavailable``."""
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline:
            for process in (self._epmd, self._server):
                if process is not None and process.poll() is not None:
                    raise Unavailable(f"RabbitMQ ended with {process.returncode}: {self._tail()}")
            if speaks_amqp(HOST, self._port):
                return
            time.sleep(0.1)
        raise Unavailable(f"RabbitMQ was not ready in {START_TIMEOUT_S:g} s: {self._tail()}")

    def _tail(self) -> str:
        return (self.folder / "console.log").read_text(errors="replace")[-2_000:]


class RabbitCluster:
    """Nodes of one cluster on this machine, for tests of what happens when one of them dies."""

    def __init__(self, folder: Path, size: int = 3) -> None:
        (epmd_port,) = free_ports(1)
        names = [node_name() for _ in range(size)]
        home = folder.absolute() / "home"
        self.nodes = [
            RabbitNode(
                folder / f"node-{number}", name=name, together=Together(home, epmd_port, names, leads=number == 0)
            )
            for number, name in enumerate(names)
        ]

    @property
    def url(self) -> str:
        """Of the default virtual host, with all nodes."""
        return f"amqp://guest:guest@{','.join(node.host for node in self.nodes)}/%2F"

    def __enter__(self) -> RabbitCluster:
        cookie = self.nodes[0].folder.parent / "home" / ".erlang.cookie"
        cookie.parent.mkdir(parents=True)
        cookie.write_text(uuid4().hex)  # nodes that start together would each make one of their own
        cookie.chmod(0o400)
        try:
            for node in self.nodes:
                node.begin()
            for node in self.nodes:
                node.wait_until_ready()
            self.nodes[0].control("await_online_nodes", str(len(self.nodes)))  # those become members of its queues
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, where: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """End all nodes, the one with the epmd last."""
        for node in reversed(self.nodes):
            node.stop()


def _lasting_name(folder: Path) -> str:
    """The data of a node belong to its name, so the first name in a folder stays."""
    kept = folder / "name"
    if not kept.exists():
        folder.mkdir(parents=True, exist_ok=True)
        kept.write_text(node_name())
    return kept.read_text().strip()


def node_name() -> str:
    """One that no other node on this machine has."""
    return f"flt{uuid4().hex[:8]}@localhost"


def speaks_amqp(host: str, port: int) -> bool:
    """Whether a broker answers there; an open port alone is too early."""
    try:
        with socket.create_connection((host, port), timeout=1.0) as peer:
            peer.settimeout(1.0)
            peer.sendall(AMQP_HEADER)
            first = peer.recv(1)
    except OSError:
        return False
    return first == bytes([METHOD_FRAME])


def free_ports(count: int) -> list[int]:
    """Ports that nobody uses at this moment, all different."""
    found = list(itertools.islice(filter(_is_free, random.sample(PORTS, len(PORTS))), count))
    if len(found) < count:
        raise Unavailable(f"{count} ports were wanted, and {len(found)} are free")
    return found


def _is_free(port: int) -> bool:
    with contextlib.closing(socket.socket()) as peer:
        try:
            peer.bind((HOST, port))
        except OSError:
            return False
    return True


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is not None:
        return
    process.terminate()
    try:
        process.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(STOP_TIMEOUT_S)
