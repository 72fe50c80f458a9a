"""A real browser without a window, spoken to through a pipe (the DevTools protocol), where one is installed."""

from __future__ import annotations

import base64
import json
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from fcntl import F_DUPFD_CLOEXEC, fcntl
from pathlib import Path
from select import select
from signal import SIGTERM
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--remote-debugging-pipe",
)
PATIENCE_S = 30.0


def installed() -> str | None:
    """The program, or None."""
    return next((found for name in NAMES if (found := shutil.which(name))), None)


class Page:
    """One page. ``complaints``: what the browser would not load or run; ``sent``: the URL and body of each request.
    Blocking; raises ``AssertionError`` for what does not come in ``PATIENCE_S``."""

    def __init__(self, reads: int, writes: int) -> None:
        self._reads, self._writes = reads, writes
        self._pending = b""
        self._last = 0
        self._session: str | None = None
        self.complaints: list[str] = []
        self.sent: list[tuple[str, str]] = []
        target = self._ask("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self._ask(f"{domain}.enable")

    def open(self, url: str) -> None:
        """Go there."""
        self._ask("Page.navigate", url=url)

    def run(self, script: str) -> Any:
        """The value of an expression; None where it is an error, such as while a page goes."""
        answer = self._ask("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        return answer["result"].get("value") if "exceptionDetails" not in answer else None

    def until(self, script: str) -> Any:
        """The first value of an expression that is true."""
        deadline = time.monotonic() + PATIENCE_S
        while not (value := self.run(script)):
            assert time.monotonic() < deadline, f"{script}: {self.run('document.body.innerText')}"
            time.sleep(0.05)
        return value

    def picture(self, path: Path) -> None:
        """What it looks like, as PNG."""
        path.write_bytes(base64.b64decode(self._ask("Page.captureScreenshot", format="png")["data"]))

    def _ask(self, method: str, **params: Any) -> dict[str, Any]:
        self._last += 1
        wish = {"id": self._last, "method": method, "params": params}
        if self._session is not None:
            wish["sessionId"] = self._session
        os.write(self._writes, json.dumps(wish).encode() + b"\0")
        while True:
            message = self._message()
            if message.get("id") == self._last:
                assert "error" not in message, message
                answer: dict[str, Any] = message["result"]
                return answer
            self._hear(message.get("method"), message.get("params", {}))

    def _hear(self, what: str | None, told: dict[str, Any]) -> None:
        match what:
            case "Log.entryAdded" if told["entry"]["source"] in ("security", "javascript"):
                self.complaints.append(told["entry"]["text"])
            case "Runtime.exceptionThrown":
                self.complaints.append(told["exceptionDetails"]["text"])
            case "Network.requestWillBeSent":
                self.sent.append((told["request"]["url"], told["request"].get("postData", "")))

    def _message(self) -> dict[str, Any]:
        while b"\0" not in self._pending:
            assert select([self._reads], [], [], PATIENCE_S)[0], "the browser does not answer"
            read = os.read(self._reads, 1 << 20)
            assert read, "the browser has gone"
            self._pending += read
        text, _, self._pending = self._pending.partition(b"\0")
        message: dict[str, Any] = json.loads(text)
        return message


@contextmanager
def browsing(program: str, folder: Path) -> Iterator[Page]:
    """A page of a browser of its own, which keeps what it has in this folder."""
    its_reads, writes = os.pipe()
    reads, its_writes = os.pipe()
    log = os.open(folder / "browser.log", os.O_WRONLY | os.O_CREAT, 0o600)
    ends = [(its_reads, 3), (its_writes, 4), (log, 1), (log, 2)]
    apart = [(fcntl(end, F_DUPFD_CLOEXEC, 10), as_) for end, as_ in ends]  # none is where another is to be
    moved = [(os.POSIX_SPAWN_DUP2, end, as_) for end, as_ in apart]
    command = [program, *FLAGS, f"--user-data-dir={folder / 'profile'}", "--window-size=700,900", "about:blank"]
    process = os.posix_spawn(program, command, os.environ, file_actions=moved)
    for end in {end for end, _ in ends} | {end for end, _ in apart}:
        os.close(end)
    try:
        yield Page(reads, writes)
    finally:
        os.kill(process, SIGTERM)
        os.waitpid(process, 0)
        os.close(reads)
        os.close(writes)
