"""``flotilla gateway``: one gateway as a process, and the keys that Particle devices know the installation by."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from deploy.broker import distributed_bus
from deploy.health_report import reporting
from deploy.process import end_with_parent, log_to_stderr, until_told
from deploy.running import DataFolder, Process
from shared.runtime import Owner, Runtime
from shared.settings import Settings
from shared.store.open import open_store

if TYPE_CHECKING:
    from services.gateway.bootstrap import GatewayPart

app = typer.Typer(help="One gateway as this process, named by FLOTILLA_GATEWAY, and its keys.", no_args_is_help=False)

WithParent = Annotated[bool, typer.Option("--with-parent", hidden=True, help="End when the parent process dies.")]


@app.callback(invoke_without_command=True)
def gateway(context: typer.Context, with_parent: WithParent = False) -> None:
    """One gateway as this process, named by FLOTILLA_GATEWAY. Needs a broker: FLOTILLA_BUS=amqp://…"""
    if context.invoked_subcommand is not None:
        return
    from services.gateway.bootstrap import GatewayPart  # deferred: takes a second that other commands need not pay

    settings = Settings.load()
    if with_parent:
        end_with_parent()
    log_to_stderr(settings.log_level)
    folder = DataFolder(settings.data)
    name = f"gateway-{settings.gateway}"
    store = open_store(settings.store)
    part = GatewayPart(settings, store, distributed_bus(settings))
    runtime = Runtime(name, [Owner("event store", store.close), part])

    def ready() -> None:
        folder.announce(announced(name, settings, part))
        report.ready()

    with reporting(name, folder, runtime) as report:
        until_told(runtime, ready, lambda: folder.withdraw(name))


def announced(name: str, settings: Settings, part: GatewayPart) -> Process:
    """A process that holds a gateway, and where it listens."""

    def place(port: int) -> tuple[str, int] | None:
        return (settings.host, port) if port >= 0 else None

    return Process(
        name,
        os.getpid(),
        f"http://{settings.host}:{part.http_port}",
        place(part.port("mqtt")),
        particle=place(part.port("particle-tcp")),
        particle_udp=place(part.port("particle-udp")),
        mqtts=place(part.port("mqtts")),
        mqtt_ws=place(part.port("mqtt-ws")),
        mqtt_wss=place(part.port("mqtt-wss")),
    )


@app.command()
def key(
    data: Annotated[Path | None, typer.Option(help="Folder for everything that is kept (default: ./data).")] = None,
    block: Annotated[
        str | None, typer.Option(metavar="HOST", help="Write the key block that makes a device talk to this host.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="File for the block (default: flotilla-tcp.der or …-udp.der).")
    ] = None,
    udp: Annotated[bool, typer.Option("--udp", help="For devices on UDP: Electron and later ones.")] = False,
    port: Annotated[int | None, typer.Option(help="Port in the block (default: that of the protocol).")] = None,
) -> None:
    """Show the public keys that devices need (made if there are none yet), or write a key block to flash."""
    from services.gateway.devices.particle import keys  # deferred, as above
    from services.gateway.devices.particle.server_keys import load_or_make

    found = load_or_make(Path(Settings.load(data=data).device_keys))
    chosen: rsa.RSAPublicKey | ec.EllipticCurvePublicKey = found.ec.public_key() if udp else found.rsa.public_key()
    if block is None:
        shown = (chosen,) if udp else (found.rsa.public_key(), found.ec.public_key())
        sys.stdout.write("".join(map(keys.public_pem, shown)))
        return
    path = out or Path(f"flotilla-{'udp' if udp else 'tcp'}.der")
    path.write_bytes(keys.server_block(chosen, block, port))
    typer.echo(f"{path}: {path.stat().st_size} bytes, for {block}; to be flashed into a device in DFU mode")
