"""The ``flotilla`` command."""

from __future__ import annotations

import os
import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from sqlalchemy.exc import DBAPIError

from deploy import greeting
from deploy.commands import Commands
from deploy.process import end_with_parent, log_to_stderr, until_told
from deploy.running import DataFolder, Process
from shared.errors import FlotillaError
from shared.settings import Settings

app = typer.Typer(
    cls=Commands, help="Flotilla: the control plane of a connected product.", no_args_is_help=True, add_completion=False
)
console = Console()

Data = Annotated[Path | None, typer.Option(help="Folder for everything that is kept (default: ./data).")]
Port = Annotated[int | None, typer.Option(help="0: any free one.")]
WithParent = Annotated[bool, typer.Option("--with-parent", hidden=True, help="End when the parent process dies.")]


@app.command()
def run(
    data: Data = None,
    http_port: Port = None,
    mqtt_port: Port = None,
    particle_port: Port = None,
    particle_udp_port: Port = None,
) -> None:
    """The whole platform in this process, with nothing to install: SQLite, no broker."""
    from deploy.composition import embedded  # deferred, like others below: a second that commands need not pay
    from deploy.gateway_command import announced
    from deploy.health_report import reporting
    from deploy.payment_sandbox import beside, send_hooks

    settings = _settings(data, http_port, mqtt_port, particle_port, particle_udp_port)
    log_to_stderr(settings.log_level)
    folder = DataFolder(settings.data)
    with folder.claimed(), beside(settings, _line) as settings:
        runtime, gateway = embedded(settings)

        def ready() -> None:
            for part in runtime.parts:
                _line(f"{part.name} is up")
            process = announced("flotilla", settings, gateway)
            folder.announce(process)
            report.ready()
            send_hooks(settings, [process])
            _where_next(settings, [process])

        with reporting("flotilla", folder, runtime) as report:
            until_told(runtime, ready, lambda: _stopped(folder, "flotilla"))


@app.command()
def up(
    data: Data = None,
    http_port: Port = None,
    mqtt_port: Port = None,
    particle_port: Port = None,
    particle_udp_port: Port = None,
    gateways: str = "a,b",
) -> None:
    """The distributed platform on this machine: RabbitMQ, one process a service, two gateways."""
    from deploy.payment_sandbox import beside, send_hooks
    from deploy.supervisor import Supervisor

    settings = _settings(data, http_port, mqtt_port, particle_port, particle_udp_port)
    log_to_stderr(settings.log_level)
    folder = DataFolder(settings.data)
    with folder.claimed(), beside(settings, _line) as settings:
        supervisor = Supervisor(settings, gateways.split(","), _line)

        def ready() -> None:
            folder.announce(Process("supervisor", os.getpid(), bus=supervisor.bus))
            send_hooks(settings, folder.gateways())
            _where_next(settings, folder.gateways())

        supervisor.run(ready)
        _stopped(folder, "supervisor")


@app.command()
def service(name: str, with_parent: WithParent = False) -> None:
    """One service as this process: orgs, billing, firmware, devices or hooks. Needs a broker: FLOTILLA_BUS=amqp://…"""
    from deploy.composition import service as compose
    from deploy.health_report import reporting

    settings = Settings.load()
    if with_parent:
        end_with_parent()
    log_to_stderr(settings.log_level)
    folder = DataFolder(settings.data)
    runtime = compose(name, settings)

    def ready() -> None:
        folder.announce(Process(name, os.getpid()))
        report.ready()

    with reporting(name, folder, runtime) as report:
        until_told(runtime, ready, lambda: folder.withdraw(name))


@app.command()
def health(
    names: Annotated[list[str] | None, typer.Argument(help="Processes (default: all of the data folder).")] = None,
    live: Annotated[bool, typer.Option("--live", help="Only whether a restart would help.")] = False,
    data: Data = None,
) -> None:
    """Whether processes are well, for probes and people: ends with 0 if so, else says why not and ends with 1."""
    from deploy.health import check

    found = check(names or [], data, live=live)
    for complaint in found:
        console.print(complaint, markup=False, highlight=False, soft_wrap=True)
    if not found:
        console.print("well")
    raise typer.Exit(1 if found else 0)


@app.command()
def doctor(data: Data = None) -> None:
    """Look at everything that an installation needs, and say what is wrong and what to do."""
    from deploy.doctor import examine

    healthy = examine(Settings.load(data=data), console)
    raise typer.Exit(0 if healthy else 1)


def _line(text: str) -> None:
    console.print(f"[green]●[/green] {text}", highlight=False, soft_wrap=True)


def _settings(
    data: Path | None,
    http_port: int | None,
    mqtt_port: int | None,
    particle_port: int | None,
    particle_udp_port: int | None,
) -> Settings:
    return Settings.load(
        data=data,
        http_port=http_port,
        mqtt_port=mqtt_port,
        particle_tcp_port=particle_port,
        particle_udp_port=particle_udp_port,
    )


def _where_next(settings: Settings, gateways: list[Process]) -> None:
    program = Path(sys.argv[0]).absolute()
    me = program.relative_to(Path.cwd()) if program.is_relative_to(Path.cwd()) else program.name
    lines = [*greeting.lines(settings, gateways), *greeting.hints(settings, gateways, str(me))]
    console.print("\n".join(lines), highlight=False, soft_wrap=True)


def _stopped(folder: DataFolder, name: str) -> None:
    folder.withdraw(name)
    _line("stopped in order")


def main(run_app: Callable[[], Any] = app) -> None:
    """Run the command; an error of ours, of the system or of a database is a sentence on stderr and exit code 1, not a
    trace."""
    try:
        run_app()
    except FlotillaError as error:
        _refuse(str(error))
    except OSError as error:
        _refuse(f"{error.filename}: {error.strerror}" if error.filename and error.strerror else str(error))
    except sqlite3.Error as error:
        _refuse(str(error))
    except DBAPIError as error:  # of the views; without the statement, whose values may be personal
        _refuse(f"the database of the views or keys: {error.orig}")


def _refuse(text: str) -> None:
    console = Console(stderr=True)
    console.print(f"[red]flotilla:[/red] {escape(text)}", highlight=False, soft_wrap=True)
    sys.exit(1)


if __name__ == "__main__":
    main()
