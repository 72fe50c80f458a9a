"""``flotilla firmware``: versions of a product, to look at, to upload and to download, and the keys that sign them.
Speaks to a gateway as a team member does, here or elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn
from rich.table import Table

from deploy.api import Api
from deploy.downloads import fetch
from deploy.running import DataFolder
from deploy.wide import people_console
from shared.settings import Settings

app = typer.Typer(help="Firmware of a product: versions, files, and the keys that sign them.", no_args_is_help=True)
console = people_console(markup=False)

COLUMNS = ("version", "title", "bytes", "SHA-256", "signed by", "uploaded", "by", "devices", "released")

Product = Annotated[int, typer.Argument(help="The product's ID.")]
Version = Annotated[int, typer.Argument(help="The version.")]
Username = Annotated[str, typer.Option(prompt=True, help="A team member's email.")]
Password = Annotated[str, typer.Option(prompt=True, hide_input=True, envvar="PASSWORD", help="Better by PASSWORD.")]
Url = Annotated[str | None, typer.Option(help="The gateway (default: the one that runs on the data folder).")]
Data = Annotated[Path | None, typer.Option(help="Data folder of the running platform (default: ./data).")]


@app.command("list")
def list_them(product: Product, username: Username, password: Password, url: Url = None, data: Data = None) -> None:
    """All versions, the highest first."""
    with _api(url, data, username, password) as api:
        versions = api.firmware(product)
    table = Table(*COLUMNS)
    for one in versions:
        table.add_row(
            str(one["version"]),
            one["title"],
            f"{one['size']:,}",
            one["sha256"][:12],
            one["signature_key"] or "-",
            one["uploaded_on"][:16].replace("T", " "),
            one["uploaded_by"]["username"],
            str(one["device_count"]),
            _released(one),
        )
    console.print(table)


@app.command()
def show(
    product: Product, version: Version, username: Username, password: Password, url: Url = None, data: Data = None
) -> None:
    """All that is known of a version, with what was read in a Particle module."""
    with _api(url, data, username, password) as api:
        found = api.firmware_version(product, version)
    table = Table(show_header=False)
    for name, value in _lines(found):
        table.add_row(name, value)
    console.print(table)


@app.command()
def upload(
    product: Product,
    version: Version,
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False)],
    title: Annotated[str, typer.Option(help="Unique in the product.")],
    username: Username,
    password: Password,
    description: Annotated[str, typer.Option()] = "",
    signature: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="The file's detached Ed25519 signature.")
    ] = None,
    url: Url = None,
    data: Data = None,
) -> None:
    """Upload a file as a version (FW-1)."""
    signed = None if signature is None else signature.read_bytes()
    fields = {"version": str(version), "title": title, "description": description}
    with _api(url, data, username, password) as api, _bars() as bars, file.open("rb") as raw:
        task = bars.add_task("uploading", total=file.stat().st_size)
        with bars.wrap_file(raw, task_id=task) as read:
            uploaded = api.send_firmware(product, fields, (file.name, read), signed)
    by = f", signed by {uploaded['signature_key']}" if uploaded["signature_key"] else ""
    console.print(f"version {version} of product {product}: {uploaded['size']:,} bytes, {uploaded['sha256']}{by}")
    for warning in uploaded.get("warnings", ()):
        console.print(warning)


@app.command()
def download(
    product: Product,
    version: Version,
    username: Username,
    password: Password,
    to: Annotated[Path | None, typer.Option(help="File or folder (default: the uploaded file's name, here).")] = None,
    url: Url = None,
    data: Data = None,
) -> None:
    """Fetch a version's file. What was cut goes on when this is called again; the digest is checked at the end."""
    with _api(url, data, username, password) as api:
        found = api.firmware_version(product, version)
        name = Path(found["name"]).name
        target = Path(name) if to is None else to / name if to.is_dir() else to
        with _bars() as bars:
            task = bars.add_task("downloading", total=found["size"])
            fetch(api, product, found, target, lambda done: bars.update(task, completed=done))
    console.print(f"{target}: {found['size']:,} bytes, {found['sha256']}")


@app.command()
def keys(
    product: Product,
    username: Username,
    password: Password,
    add: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="A file with an Ed25519 public key: PEM, or minisign's .pub."),
    ] = None,
    name: Annotated[str | None, typer.Option(help="What the added key is called (default: the file's name).")] = None,
    remove: Annotated[str | None, typer.Option(metavar="ID", help="Accept nothing more that it has signed.")] = None,
    require: Annotated[
        bool | None, typer.Option("--require/--no-require", help="Take signed firmware only, or again any.")
    ] = None,
    url: Url = None,
    data: Data = None,
) -> None:
    """The keys that sign a product's firmware; with options, change them first, in the order of these options."""
    path = f"/v1/products/{product}/signing"
    with _api(url, data, username, password) as api:
        if add is not None:
            text = add.read_text(errors="replace")
            api.call("POST", f"{path}/keys", json={"name": name or add.name, "public_key": text})
        if remove is not None:
            api.call("DELETE", f"{path}/keys/{remove}")
        if require is not None:
            api.call("PUT", path, json={"signature_required": require})
        found = api.signing(product)
    table = Table("id", "name", "public key", "added")
    for key in found["keys"]:
        table.add_row(key["id"], key["name"], key["public_key"], key["added_on"][:16].replace("T", " "))
    console.print(table)
    console.print("signatures are required" if found["signature_required"] else "signatures are not required")


@contextmanager
def _api(url: str | None, data: Path | None, username: str, password: str) -> Iterator[Api]:
    where = url or str(DataFolder(Settings.load(data=data).data).running_gateways()[0].http)
    with Api(where) as api:
        api.log_in(username, password)
        yield api


def _bars() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    shown = Console(stderr=True)
    return Progress(*columns, TimeRemainingColumn(), console=shown, disable=not shown.is_terminal, transient=True)


def _released(one: dict[str, Any]) -> str:
    return ", ".join([*(["all"] if one["product_default"] else []), *one["groups"]]) or "-"


def _lines(found: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Names and values, of what is inside the module with both names."""
    for name, value in found.items():
        if isinstance(value, dict):
            yield from ((f"{name}.{inner}", _text(held)) for inner, held in value.items())
        else:
            yield name, _text(value)


def _text(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(_text, value)) or "-"
    if isinstance(value, dict):
        return " ".join(f"{name} {held}" for name, held in value.items())
    return "-" if value is None else str(value)
