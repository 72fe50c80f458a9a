"""``flotilla backup`` and ``flotilla restore``: a copy of a platform on SQLite, made while it runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from deploy import backup as copies
from shared.errors import Refused
from shared.settings import Settings

console = Console(markup=False)

Data = Annotated[Path | None, typer.Option(help="Data folder of the platform (default: ./data).")]


def backup(
    folder: Annotated[Path, typer.Argument(help="A folder that does not exist yet.")],
    data: Data = None,
    with_keys: Annotated[bool, typer.Option("--with-keys", help="Also the keys of personal data.")] = False,
    with_logs: Annotated[bool, typer.Option("--with-logs", help="Also what devices published.")] = False,
) -> None:
    """Copy events, blobs, device keys and relay positions of a running platform; views are built anew when it is
    restored. The device keys make it a secret: who has them can pretend to be this platform to its Particle devices.

    Without --with-keys personal data stays sealed in it: keep the key table apart, and for a short time only (EVT-5).
    """
    made = copies.make(Settings.load(data=data), folder, with_keys=with_keys, with_logs=with_logs)
    size_bytes = sum(kept.size_bytes for kept in made.files)
    console.print(
        f"{made.events} events up to position {made.position}, {len(made.files)} files, {size_bytes / 2**20:.1f} MiB "
        f"in {folder}\nkeys of personal data are {'in it' if made.with_keys else 'not in it'}",
        highlight=False,
        soft_wrap=True,
    )


def restore(
    folder: Annotated[Path, typer.Argument(help="A backup.")],
    data: Annotated[Path | None, typer.Option(help="A data folder that does not exist yet.")] = None,
    verify: Annotated[bool, typer.Option("--verify", help="Only test the backup's checksums.")] = False,
) -> None:
    """Put a backup into a new data folder; `flotilla run` on it builds the views anew.

    What was acknowledged after the backup was made is lost.
    """
    if data is None and not verify:
        raise Refused("no_folder", "name the new data folder: --data NEW")
    manifest = copies.verify(folder) if verify or data is None else copies.restore(folder, data)
    done = "is as it was made" if verify else f"is in {data}"
    console.print(
        f"the backup of {manifest.made_at:%Y-%m-%d %H:%M:%S} UTC {done}: {manifest.events} events, last position "
        f"{manifest.position}",
        highlight=False,
        soft_wrap=True,
    )
    if not verify and not manifest.with_keys:
        console.print("its key table is not in it: put yours in place before the start", highlight=False)
