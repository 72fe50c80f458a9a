"""``flotilla devices quarantine, approve, deny, forgive, change, group, remove``: many devices at once, each with its
own outcome (DEV-4 to DEV-6, DEV-8)."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from deploy.api import Api
from deploy.import_command import AsJson, Data, Password, Product, Username, logged_in
from deploy.paged import pages
from deploy.wide import people_console
from shared.errors import Refused

console = people_console(markup=False)
COLUMNS = ("id", "online", "last_heard", "last_ip_address", "firmware_product_id", "firmware_version")
MOST = 1_000
"""Devices that one call acts on."""

Ids = Annotated[list[str] | None, typer.Argument(metavar="[ID]...", help="Device IDs.")]
File = Annotated[Path | None, typer.Option(help="A file with an ID a line; - is standard input.", allow_dash=True)]
Quarantined = Annotated[bool, typer.Option("--quarantined", help="All that are in quarantine.")]


def quarantine(
    product: Product,
    username: Username,
    password: Password,
    as_json: AsJson = False,
    data: Data = None,
) -> None:
    """Devices that reported the product without being imported into it."""
    with logged_in(username, password, data) as api:
        found = list(_quarantined(api, product))
    if as_json:
        typer.echo(json.dumps({"devices": found}, ensure_ascii=False))
        return
    shown = Table(*COLUMNS)
    for device in found:
        shown.add_row(*("-" if device[name] is None else str(device[name]) for name in COLUMNS))
    console.print(shown)
    console.print(f"{len(found)} devices", highlight=False)


def approve(
    product: Product,
    username: Username,
    password: Password,
    ids: Ids = None,
    file: File = None,
    quarantined: Quarantined = False,
    force: Annotated[bool, typer.Option("--force", help="They count as the product's whatever they report.")] = False,
    as_json: AsJson = False,
    data: Data = None,
) -> None:
    """Make devices that are in quarantine, or were denied, full members."""
    with logged_in(username, password, data) as api:
        chosen = _chosen(api, product, ids, file, quarantined=quarantined)
        _act(api, product, "approve", chosen, as_json=as_json, force=force)


def deny(
    product: Product,
    username: Username,
    password: Password,
    ids: Ids = None,
    file: File = None,
    quarantined: Quarantined = False,
    as_json: AsJson = False,
    data: Data = None,
) -> None:
    """Want nothing to do with devices; forgive takes that back."""
    with logged_in(username, password, data) as api:
        _act(api, product, "deny", _chosen(api, product, ids, file, quarantined=quarantined), as_json=as_json)


def forgive(
    product: Product,
    username: Username,
    password: Password,
    ids: Ids = None,
    file: File = None,
    as_json: AsJson = False,
    data: Data = None,
) -> None:
    """Take a denial back: the devices wait in quarantine again."""
    with logged_in(username, password, data) as api:
        _act(api, product, "forgive", _chosen(api, product, ids, file), as_json=as_json)


def remove(
    product: Product,
    username: Username,
    password: Password,
    ids: Ids = None,
    file: File = None,
    as_json: AsJson = False,
    data: Data = None,
) -> None:
    """Let devices leave the product; their history stays."""
    with logged_in(username, password, data) as api:
        _act(api, product, "remove", _chosen(api, product, ids, file), as_json=as_json)


def change(
    product: Product,
    username: Username,
    password: Password,
    ids: Ids = None,
    file: File = None,
    development: Annotated[
        bool | None, typer.Option("--development/--no-development", help="In the test group, or not.")
    ] = None,
    notes: Annotated[str | None, typer.Option(help="The whole new notes; empty takes them away.")] = None,
    as_json: AsJson = False,
    data: Data = None,
) -> None:
    """Mark devices as development devices, or note something on them."""
    given = {"development": development, "notes": notes}
    options = {name: value for name, value in given.items() if value is not None}
    with logged_in(username, password, data) as api:
        _act(api, product, "change", _chosen(api, product, ids, file), as_json=as_json, **options)


def group(
    product: Product,
    username: Username,
    password: Password,
    ids: Ids = None,
    file: File = None,
    add: Annotated[list[str] | None, typer.Option(help="A group to put them into; as often as needed.")] = None,
    take: Annotated[
        list[str] | None, typer.Option("--remove", help="A group to take them out of; as often as needed.")
    ] = None,
    as_json: AsJson = False,
    data: Data = None,
) -> None:
    """Put devices into groups and take them out of others."""
    with logged_in(username, password, data) as api:
        chosen = _chosen(api, product, ids, file)
        _act(api, product, "group", chosen, as_json=as_json, add=add or [], remove=take or [])


def _chosen(
    api: Api, product: int, ids: list[str] | None, file: Path | None, *, quarantined: bool = False
) -> Iterable[str]:
    if bool(ids) + (file is not None) + quarantined != 1:
        raise Refused(
            "invalid_request", "name devices, or a --file of them, or say --quarantined where that is possible"
        )
    if quarantined:
        return (device["id"] for device in _quarantined(api, product))
    if file is None:
        return ids or []
    text = sys.stdin.read() if str(file) == "-" else file.read_text(encoding="utf-8-sig")
    return text.split()


def _quarantined(api: Api, product: int) -> Iterator[dict[str, Any]]:
    """By ID, so that the pages behind stay the same while what is in front leaves quarantine."""
    query = {"per_page": 500, "sortAttr": "deviceId", "sortDir": "asc", "quarantined": "true"}
    path = f"/v1/products/{product}/devices"
    return pages(
        lambda after: dict(api.call("GET", path, params=query | ({"after": after} if after else {}))), "devices"
    )


def _act(api: Api, product: int, action: str, chosen: Iterable[str], *, as_json: bool, **options: Any) -> None:
    """Ends with 1 if a device was refused."""
    left, counts, refused = iter(chosen), Counter[str](), []
    while some := list(islice(left, MOST)):
        answer = api.act_on_devices(product, action, some, **options)
        counts.update({name: answer[name] for name in ("done", "unchanged", "refused")})
        refused += [one for one in answer["outcomes"] if one["outcome"] == "refused"]
    if as_json:
        numbers = {name: counts[name] for name in ("done", "unchanged", "refused")}
        typer.echo(json.dumps({**numbers, "outcomes": refused}, ensure_ascii=False))
    else:
        told = f"{counts['done']} done, {counts['unchanged']} were so already, {counts['refused']} refused"
        console.print(told, highlight=False)
        for one in refused:
            console.print(f"  {one['id']}: {one['reason']}", highlight=False)
    raise typer.Exit(1 if counts["refused"] else 0)
