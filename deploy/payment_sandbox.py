"""The sandbox of payments: ``localstripe``, an independent fake of Stripe's API, as a process of its own beside a
platform that has no key of Stripe. It is an optional extra that is started and never imported (its licence is the GPL).

It keeps what it has in its memory, so it outlives a platform that is killed, and the next one on the same data folder
goes on with it: what became of a charge can then still be asked. One that nobody uses for ``LEFT_S`` ends by itself.
It listens on all interfaces and believes everybody, so it is for machines that nobody else reaches.

This module is also the process that watches over it: ``python -m deploy.payment_sandbox DATA PORT``.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import httpx
import msgspec

from deploy.process import end_with_parent
from deploy.rabbitmq import free_ports
from deploy.running import DataFolder, Process
from shared.errors import Refused, Unavailable
from shared.settings import Settings

READY_S = 30.0
STOP_S = 10.0
LEFT_S = 300.0
"""So long it waits for a platform before it ends."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 30.0
HOOK = "/v1/hooks/stripe"
WANTED = ("payment_intent.succeeded", "payment_intent.payment_failed")
"""What the sandbox sends of what billing listens to (GW-5)."""
MODULE = "deploy.payment_sandbox"


class Running(msgspec.Struct, frozen=True):
    """A sandbox that runs: the process that watches over it, its port, the secret of its webhooks and where they go."""

    pid: int
    port: int
    secret: str
    hook: str = ""

    @property
    def url(self) -> str:
        """As programs and browsers of this machine reach it."""
        return f"http://127.0.0.1:{self.port}"


@contextmanager
def beside(settings: Settings, say: Callable[[str], None]) -> Iterator[Settings]:
    """The settings of a platform with a sandbox beside it, if it is to have one, for as long as the platform runs.
    Raises ``Refused`` (``missing_extra``) and ``Unavailable``."""
    sandbox = Sandbox(settings.data)
    if settings.payments != "sandbox:":
        sandbox.stop()  # one that was left behind
        yield settings
        return
    running = sandbox.start()
    say(f"sandbox of payments is up (no real money) · {running.url}")
    try:
        yield replace(settings, payments=f"sandbox:{running.url}", stripe_webhook_secrets=running.secret)
    finally:
        sandbox.stop()


def send_hooks(settings: Settings, gateways: list[Process]) -> None:
    """Have the sandbox beside this platform send its webhooks to one of the gateways; nothing without a sandbox. What
    is not sent is found out otherwise, so a failure is none of the platform's."""
    sandbox = Sandbox(settings.data)
    found = sandbox.found()
    addresses = [gateway.http for gateway in gateways if gateway.http]
    if found is not None and addresses and settings.payments == f"sandbox:{found.url}":
        running = msgspec.structs.replace(found, hook=f"{addresses[0]}{HOOK}")
        sandbox.keep(running)
        with contextlib.suppress(httpx.HTTPError):  # GW-6: nothing depends on a webhook
            register(running)


def register(running: Running) -> None:
    """Tell the sandbox where webhooks go. Raises ``httpx.HTTPError``."""
    wanted = {"url": running.hook, "secret": running.secret, "events": list(WANTED)}
    httpx.post(f"{running.url}/_config/webhooks/flotilla", json=wanted, timeout=5).raise_for_status()


class Sandbox:
    """The sandbox of one data folder."""

    def __init__(self, data: Path) -> None:
        self._data = data
        self.folder = data / "sandbox"
        self._file = self.folder / "process.json"
        self._watcher: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> Path:
        """What the sandbox says."""
        return self.folder / "sandbox.log"

    def start(self) -> Running:
        """The one that runs already, else a new one; returns when it answers."""
        found = self.found()
        if found is not None and _answers(found.url):
            return found
        if find_spec("localstripe") is None:
            reason = (
                "the sandbox of payments needs the optional extra `sandbox`: pip install 'flotilla[sandbox]'; or "
                "FLOTILLA_PAYMENTS=off:, or a key of Stripe"
            )
            raise Refused("missing_extra", reason)
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        (port,) = free_ports(1)
        with self.log.open("wb") as output:
            self._watcher = subprocess.Popen(  # noqa: S603 - our own program
                [sys.executable, "-m", MODULE, str(self._data), str(port)],
                stdout=output,
                stderr=output,
                stdin=subprocess.DEVNULL,
                start_new_session=True,  # not ended by the terminal's Ctrl-C: in order, after the platform
            )
        running = Running(self._watcher.pid, port, f"whsec_{secrets.token_hex(24)}")
        self.keep(running)
        deadline = time.monotonic() + READY_S
        while not _answers(running.url):
            if self._watcher.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise Unavailable(f"the sandbox of payments did not start; its last words:\n{self._last_words()}")
            time.sleep(0.05)
        return running

    def stop(self) -> None:
        """End it in order; what it knew is gone."""
        found, watcher = self.found(), self._watcher
        self._watcher = None
        if found is not None:
            os.kill(found.pid, signal.SIGTERM)
        deadline = time.monotonic() + STOP_S
        if watcher is not None:
            watcher.wait(STOP_S)
        while found is not None and self._is_ours(found.pid) and time.monotonic() < deadline:
            time.sleep(0.02)  # one that an earlier platform started
        self._file.unlink(missing_ok=True)

    def found(self) -> Running | None:
        """The one that runs for this folder."""
        try:
            running = msgspec.json.decode(self._file.read_bytes(), type=Running)
        except (FileNotFoundError, msgspec.DecodeError):
            return None
        return running if self._is_ours(running.pid) else None

    def _is_ours(self, pid: int) -> bool:
        """Whether this process watches over our sandbox, and is not another that got its number."""
        try:
            command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except OSError:
            return not Path("/proc").exists() and _exists(pid)
        return MODULE.encode() in command and str(self._data).encode() in command

    def keep(self, running: Running) -> None:
        """Write down what runs; visible at once and whole."""
        draft = self._file.with_suffix(".draft")
        draft.touch(mode=0o600)  # it holds a secret
        draft.write_bytes(msgspec.json.encode(running))
        draft.rename(self._file)

    def _last_words(self) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-15:]) if self.log.exists() else "(none)"


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    return True


def _answers(url: str) -> bool:
    try:
        httpx.get(url, timeout=1)
    except httpx.HTTPError:
        return False
    return True


def watch(data: Path, port: int) -> None:
    """Keep a sandbox running until we are told to end, or nobody uses it any more."""
    told = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: told.set())
    folder, pause_s, used_s, starter = DataFolder(data), FIRST_PAUSE_S, time.monotonic(), os.getppid()
    child = _spawn(data, port)
    try:
        while not told.wait(1.0) and time.monotonic() - used_s < LEFT_S:
            if os.getppid() == starter or folder.processes():
                used_s = time.monotonic()
            if child.poll() is not None and not told.wait(pause_s):
                pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
                child = _spawn(data, port)
                _register_again(Sandbox(data))
    finally:
        child.terminate()
        child.wait()


def _spawn(data: Path, port: int) -> subprocess.Popen[bytes]:
    folder = data / "sandbox"
    return subprocess.Popen(  # noqa: S603 - a program of the lock file
        [sys.executable, "-m", "localstripe", "--from-scratch", "--port", str(port)],
        env={name: text for name, text in os.environ.items() if not name.startswith("FLOTILLA_")},
        cwd=folder,
        preexec_fn=end_with_parent,
    )


def _register_again(sandbox: Sandbox) -> None:
    """It has forgotten where webhooks go."""
    running, deadline = sandbox.found(), time.monotonic() + READY_S
    while running is not None and running.hook and time.monotonic() < deadline:
        try:
            register(running)
        except httpx.HTTPError:
            time.sleep(0.2)
        else:
            return


if __name__ == "__main__":
    watch(Path(sys.argv[1]), int(sys.argv[2]))
