"""``python -m tests.clients.installed``: the official clients as they are published, in a folder below ``build/``, once
for each lock file.

particle-cli brings the particle-api-js of its time, so two versions of it are driven. Nothing of what they contain is
run while they are installed: what only the serial port and USB need is not built.
"""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from shared.errors import Misuse, Unavailable

HERE = Path(__file__).resolve().parent
BUILD = HERE.parent.parent / "build" / "clients"
FILES = ("package.json", "package-lock.json", ".npmrc")
INSTALL_S = 300.0
COMPLETE = "complete"
UNREACHABLE = ("EAI_AGAIN", "ECONNREFUSED", "ECONNRESET", "ENETUNREACH", "ENOTFOUND", "ETIMEDOUT")
"""What npm says when there is no registry to be reached; all else is a fault of ours."""


def ensure_installed(tell: Callable[[str], None] = lambda _: None) -> Path:
    """The folder that has them in ``node_modules``. Raises ``Unavailable`` where there is no Node.js, or the registry
    of its packages does not answer."""
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        raise Unavailable("the official clients need Node.js 20 or later: there is no node or no npm on this machine")
    digest = hashlib.sha256(b"".join((HERE / name).read_bytes() for name in FILES)).hexdigest()[:16]
    folder = BUILD / digest
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # tests run side by side
        if not (folder / COMPLETE).exists():
            tell("installing the official clients (about 20 s, once)")
            _install(npm, folder)
            (folder / COMPLETE).touch()
    return folder


def _install(npm: str, folder: Path) -> None:
    for name in FILES:
        shutil.copy(HERE / name, folder / name)
    command = [npm, "ci", "--ignore-scripts", "--prefer-offline"]
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=INSTALL_S, check=False)
    except subprocess.TimeoutExpired:
        raise Unavailable(f"npm ci did not end within {INSTALL_S:.0f} s") from None
    if done.returncode == 0:
        return
    kind = Unavailable if any(f"code {code}" in done.stderr for code in UNREACHABLE) else Misuse
    raise kind(f"npm ci failed: {done.stderr[-2_000:]}")


def main() -> None:
    """Install them, or say why not; the tests then say the same."""
    try:
        print(f"official clients: {ensure_installed(tell=print)}")
    except Unavailable as reason:
        print(reason)


if __name__ == "__main__":
    main()
