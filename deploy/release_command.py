"""``flotilla lock``, ``unlock`` and ``release``: firmware along the flow of FW-8, each saying the next step."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated

import typer

from deploy.api import Api
from deploy.import_command import AsJson, Data, Password, Username, logged_in
from deploy.rollout_command import advised
from deploy.wide import people_console
from shared.errors import Refused

console = people_console(markup=False)

Product = Annotated[int, typer.Argument(help="The product's ID.")]
Version = Annotated[int, typer.Argument(help="The version's number.")]
Ids = Annotated[list[str] | None, typer.Argument(metavar="[DEVICE]...", help="Device IDs.")]
Development = Annotated[bool, typer.Option("--development", help="All development devices: the test group.")]


def lock(
    product: Product,
    version: Version,
    username: Username,
    password: Password,
    ids: Ids = None,
    development: Development = False,
    now: Annotated[bool, typer.Option("--now", help="While it is online; else when it comes online.")] = False,
    data: Data = None,
) -> None:
    """Lock devices to a version: they run it, whatever is released, until they are unlocked (FW-3)."""
    changes = {"desired_firmware_version": version, **({"flash": True} if now else {})}
    with advised(), logged_in(username, password, data) as api:
        locked = _change(api, product, ids, changes, development=development)
    _say(f"{locked} devices locked to version {version}")
    _say(f"next: flotilla firmware list {product} shows when it runs")
    _say(f"then: flotilla rollout dry-run {version} --product {product}, or flotilla release {product} {version}")


def unlock(
    product: Product,
    username: Username,
    password: Password,
    ids: Ids = None,
    development: Development = False,
    data: Data = None,
) -> None:
    """Let devices run what is released again."""
    with logged_in(username, password, data) as api:
        unlocked = _change(api, product, ids, {"desired_firmware_version": None}, development=development)
    _say(f"{unlocked} devices unlocked")


def release(
    product: Product,
    version: Version,
    username: Username,
    password: Password,
    groups: Annotated[str | None, typer.Option(help="Only to these groups: a,b. Without it to all.")] = None,
    intelligent: Annotated[
        bool, typer.Option("--intelligent", help="Devices that are online are offered it now.")
    ] = False,
    as_json: AsJson = False,
    data: Data = None,
) -> None:
    """Release a version to all devices at once, or to groups (FW-4). In stages: flotilla rollout."""
    names = None if groups is None else [name.strip() for name in groups.split(",") if name.strip()]
    with advised(), logged_in(username, password, data) as api:
        found = api.release(product, version, groups=names, intelligent=intelligent)
    if as_json:
        typer.echo(json.dumps(found, ensure_ascii=False))
        return
    to = "all devices" if names is None else "groups " + ", ".join(names)
    _say(f"version {version} is released to {to}; {found['device_count']:,} devices run it")
    _say(f"next: flotilla firmware list {product} shows how it spreads")


def _change(api: Api, product: int, ids: list[str] | None, changes: Mapping[str, object], *, development: bool) -> int:
    if bool(ids) is development:
        raise Refused("invalid_request", "name devices, or say --development for all development devices")
    chosen = ids or [device["id"] for device in api.devices(product, development="true")]
    if not chosen:
        advice = "flotilla devices change --development --product PRODUCT ID… marks some"
        raise Refused("no_devices", f"the product has no development devices\n  {advice}")
    for device_id in chosen:
        api.update_device(product, device_id, changes)
    return len(chosen)


def _say(text: str) -> None:
    console.print(text, highlight=False, soft_wrap=True)
