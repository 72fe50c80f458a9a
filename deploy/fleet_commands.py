"""``flotilla demo`` and ``flotilla devices``: simulated fleets."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console

from deploy import bulk_command, import_command, insight_command, simulate_command
from deploy.running import DataFolder, Process
from deploy.story import NotAsPromised, Story
from shared.errors import Refused, Unavailable
from shared.settings import Settings

devices = typer.Typer(help="Devices, simulated ones among them.", no_args_is_help=True)
devices.command("timeline")(insight_command.timeline)
console = Console()
READY_S = 90.0
NOBODY_BILLED = "off:"
WATCH_S = 20.0
"""How long the fleet view is shown after a gateway was killed: longer than its lease."""

Data = Annotated[Path | None, typer.Option(help="Data folder of the running platform (default: ./data).")]


def demo(
    mode: Annotated[
        Literal["embedded", "distributed"], typer.Option(help="Which platform to start for it.")
    ] = "embedded",
    protocol: Annotated[
        Literal["mqtt", "particle"], typer.Option(help="What the devices speak; particle: Photons, over TCP.")
    ] = "mqtt",
    count: Annotated[int, typer.Option("--devices", min=3, max=2_000)] = 50,
    running: Annotated[bool, typer.Option(help="Use the platform that runs on the data folder.")] = False,
    kill_gateway: Annotated[
        bool, typer.Option("--kill-gateway", help="End a gateway with kill -9 in the middle of the roll-out.")
    ] = False,
    data: Data = None,
) -> None:
    """The main job as a story with simulated devices; exits with 1 if any step is not as promised."""
    started = time.monotonic()
    if kill_gateway and mode == "embedded":
        raise Refused("one_process", "--kill-gateway needs a gateway of its own: --mode distributed")
    try:
        with _platform(mode, running, data) as (gateways, settings):
            urls = [str(gateway.http) for gateway in gateways]
            listeners = [gateway.mqtt if protocol == "mqtt" else gateway.particle for gateway in gateways]
            endpoints = [listener for listener in listeners if listener]
            middle = partial(_kill_a_gateway, gateways) if kill_gateway else None
            keys = None if protocol == "mqtt" else simulate_command.keys_of(settings)
            told = Story(urls, endpoints, console, devices=count, in_the_middle=middle, particle=keys)
            with told as story:
                story.tell()
    except NotAsPromised as failure:
        console.print(f"[red]✗ {failure}[/red]", highlight=False)
        raise typer.Exit(1) from None
    console.print(f"\n[green]All as promised[/green], in {time.monotonic() - started:.0f} s ({mode}).", highlight=False)


devices.command("import")(import_command.import_file)
devices.command("imports")(import_command.list_imports)
devices.command("cancel-import")(import_command.cancel_import)
for command in (
    bulk_command.quarantine,
    bulk_command.approve,
    bulk_command.deny,
    bulk_command.forgive,
    bulk_command.change,
    bulk_command.group,
    bulk_command.remove,
):
    devices.command()(command)
devices.command("simulate")(simulate_command.simulate)


@contextmanager
def _platform(mode: str, running: bool, data: Path | None) -> Iterator[tuple[list[Process], Settings]]:
    """Gateways and settings of the running platform, or of one started for the occasion in a folder of its own."""
    if running:
        settings = Settings.load(data=data)
        yield DataFolder(settings.data).running_gateways(), settings
        return
    with (
        tempfile.TemporaryDirectory(prefix="flotilla-demo-") as folder,
        started(mode, Path(folder), console) as gateways,
    ):
        yield gateways, Settings.load({}, data=Path(folder))


@contextmanager
def started(
    mode: str, folder: Path, console: Console, extra: Mapping[str, str] | None = None
) -> Iterator[list[Process]]:
    """A platform of its own in a child process, on free ports; stopped in order at the end. ``extra``: settings as
    environment variables, instead of those of this process, of which only one is heeded: that nobody is billed."""
    word = "run" if mode == "embedded" else "up"
    command = [sys.executable, "-m", "deploy.cli", word, "--data", str(folder)]
    for listener in ("http", "mqtt", "particle", "particle-udp"):
        command += [f"--{listener}-port", "0"]
    environment = {name: text for name, text in os.environ.items() if not name.startswith("FLOTILLA_")}
    if os.environ.get("FLOTILLA_PAYMENTS") == NOBODY_BILLED:
        environment["FLOTILLA_PAYMENTS"] = NOBODY_BILLED
    environment.update(extra or {})
    output = folder / "platform.log"
    with output.open("wb") as log:
        child = subprocess.Popen(command, stdout=log, stderr=log, env=environment)  # noqa: S603 - our own program
    try:
        with console.status(f"starting the platform ({mode})"):
            gateways = _await_ready(
                child, DataFolder(folder), "flotilla" if mode == "embedded" else "supervisor", output
            )
        console.print(f"the platform is up ({mode}): {', '.join(str(one.http) for one in gateways)}", highlight=False)
        yield gateways
    finally:
        child.send_signal(signal.SIGINT)
        try:
            child.wait(40)
        except subprocess.TimeoutExpired:
            child.kill()
            raise NotAsPromised(f"the platform did not stop in order; see its log:\n{_tail(output)}") from None


def _await_ready(child: subprocess.Popen[bytes], folder: DataFolder, name: str, output: Path) -> list[Process]:
    deadline = time.monotonic() + READY_S
    while time.monotonic() < deadline and child.poll() is None:
        if any(process.name == name for process in folder.processes()):
            return folder.gateways()
        time.sleep(0.1)
    raise Unavailable(f"the platform did not start; its last words:\n{_tail(output)}")


def _tail(output: Path) -> str:
    return "\n".join(output.read_text(errors="replace").splitlines()[-20:])


def _kill_a_gateway(gateways: list[Process], story: Story) -> None:
    """End the last gateway with kill -9, and show what the fleet view says before, during and after."""
    victim = gateways[-1]
    story.api = story.at(str(gateways[0].http))
    console.print(f"   before      {story.counters()}", highlight=False)
    os.kill(victim.pid, signal.SIGKILL)
    console.print(f"   [red]kill -9[/red]     {victim.name} (pid {victim.pid})", highlight=False)
    killed_at = time.monotonic()
    while time.monotonic() - killed_at < WATCH_S:
        time.sleep(1.0)
        console.print(f"   + {time.monotonic() - killed_at:4.1f} s    {story.counters()}", highlight=False)
