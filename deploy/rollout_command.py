"""``flotilla rollout``: staged roll-outs of a product's firmware over the HTTP API (FW-6)."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.live import Live

from deploy import rollout_screen, rollout_words
from deploy.api import Api, ApiError
from deploy.csv_output import Csv
from deploy.durations import duration_s
from deploy.import_command import AsJson, Data, Password, Product, Username, logged_in
from deploy.wide import people_console
from shared.errors import Refused

app = typer.Typer(help="Staged roll-outs: dry run, plan, watch, decide.", no_args_is_help=True)
console = people_console(markup=False)
DEVICE_COLUMNS = ("id", "state", "stage", "turns", "asked_at", "given_at", "ended_at")
ADVICE = {
    "firmware_not_running": "no device has run it: flotilla lock PRODUCT VERSION --development --now brings it to the "
    "development devices; flotilla firmware list PRODUCT shows when one runs it",
    "Firmware not found.": "flotilla firmware list PRODUCT lists what there is; flotilla firmware upload adds one",
    "rollout_active": "flotilla rollout list --product PRODUCT shows the one that is under way",
    "already_released": "nothing is left to do; flotilla firmware list PRODUCT shows what runs where",
    "rollout_not_begun": "flotilla rollout approve ID begins it",
}

RolloutId = Annotated[str, typer.Argument(metavar="ID", help="The roll-out's ID.")]
Version = Annotated[int | None, typer.Argument(metavar="[VERSION]", help="What is rolled out.")]
Reason = Annotated[str, typer.Option(help="Why, for whoever looks at it later.")]
PlanFile = Annotated[Path | None, typer.Option("--plan", exists=True, dir_okay=False, help="A plan as JSON (API).")]
Group = Annotated[list[str] | None, typer.Option("--group", help="Devices in this group; as often as needed.")]
Stages = Annotated[str | None, typer.Option(help="As 20,1%,10%:hold,100%: devices, percentages, :hold asks first.")]
Soak = Annotated[float | None, typer.Option(parser=duration_s, metavar="TIME", help="How long a stage is watched.")]
Window = Annotated[list[str] | None, typer.Option("--window", help="As mon-fri,08:00-17:00 (UTC); as often as needed.")]
AtOnce = Annotated[int | None, typer.Option(help="Updates under way at a time.")]
PerHour = Annotated[int | None, typer.Option(help="Updates that begin within an hour.")]
Failed = Annotated[int | None, typer.Option("--gate-failed", help="Stops at so many percent failed.")]
Dark = Annotated[int | None, typer.Option("--gate-dark", help="Stops at so many percent not heard of afterwards.")]
DarkAfter = Annotated[
    float | None, typer.Option(parser=duration_s, metavar="TIME", help="Not heard of for so long is dark.")
]
Errors = Annotated[int | None, typer.Option("--gate-errors", help="Stops at so many percent of others' errors.")]
AtLeast = Annotated[int | None, typer.Option(help="Nothing is judged before so many are known.")]
Then = Annotated[Literal["pause", "roll_back"] | None, typer.Option(help="What a gate does.")]
Intelligent = Annotated[
    bool | None, typer.Option("--intelligent/--at-connection", help="Devices that are online are offered it now.")
]
FromDryRun = Annotated[str | None, typer.Option(help="The ID that a dry run told: the same devices are chosen.")]


def _plan(
    plan: PlanFile,
    version: int | None,
    group: list[str] | None,
    stages: str | None,
    soak: float | None,
    window: list[str] | None,
    at_once: int | None,
    per_hour: int | None,
    intelligent: bool | None,
    gates: dict[str, Any],
) -> dict[str, Any]:
    words = {
        "groups": group or None,
        "stages": None if stages is None else rollout_words.stages(stages, None if soak is None else int(soak)),
        "windows": [rollout_words.window(text) for text in window] if window else None,
        "at_once": at_once,
        "per_hour": per_hour,
        "intelligent": intelligent,
    }
    return rollout_words.plan(plan, version, words, gates)


@app.command("dry-run")
def dry_run(
    product: Product,
    username: Username,
    password: Password,
    version: Version = None,
    plan: PlanFile = None,
    group: Group = None,
    stages: Stages = None,
    soak: Soak = None,
    window: Window = None,
    intelligent: Intelligent = None,
    rollout_id: FromDryRun = None,
    as_json: AsJson = False,
    as_csv: Csv = False,
    data: Data = None,
) -> None:
    """What a roll-out would do: how far each stage goes; with --csv what each device would do, and why not.

    Changes nothing.
    """
    body = _plan(plan, version, group, stages, soak, window, None, None, intelligent, {})
    with _asked(username, password, data) as api:
        found = api.dry_run(product, {**body, **_id(rollout_id)})
        as_csv = as_csv and not as_json
        if as_csv:
            _print(api.dry_run_as_csv(product, {**body, "rollout_id": found["rollout_id"]}))
    if as_json:
        typer.echo(json.dumps(found, ensure_ascii=False))
        return
    if not as_csv:
        console.print(rollout_screen.dry_run(found))
    start = f"flotilla rollout start --product {product} --rollout-id {found['rollout_id']}"
    _say(f"{start} does it, with the same plan", beside=as_csv)
    if not found["releasable"]:
        _say(ADVICE["firmware_not_running"], beside=as_csv)


def _planning(start: bool) -> Callable[..., None]:
    """``plan`` and ``start`` take the same words."""

    def command(
        product: Product,
        username: Username,
        password: Password,
        version: Version = None,
        plan: PlanFile = None,
        group: Group = None,
        stages: Stages = None,
        soak: Soak = None,
        window: Window = None,
        at_once: AtOnce = None,
        per_hour: PerHour = None,
        gate_failed: Failed = None,
        gate_dark: Dark = None,
        dark_after: DarkAfter = None,
        gate_errors: Errors = None,
        at_least: AtLeast = None,
        then: Then = None,
        intelligent: Intelligent = None,
        rollout_id: FromDryRun = None,
        as_json: AsJson = False,
        data: Data = None,
    ) -> None:
        gates = {
            "failed_percent": gate_failed,
            "dark_percent": gate_dark,
            "dark_after_s": None if dark_after is None else int(dark_after),
            "error_ratio_percent": gate_errors,
            "at_least": at_least,
            "then": then,
        }
        body = _plan(plan, version, group, stages, soak, window, at_once, per_hour, intelligent, gates)
        with _asked(username, password, data) as api:
            _show(api.plan_rollout(product, {**body, **_id(rollout_id), "start": start}), as_json)

    return command


app.command("plan", help="Plan a roll-out; it begins when it is approved.")(_planning(start=False))
app.command("start", help="Plan a roll-out and approve its first stage.")(_planning(start=True))


@app.command("list")
def list_rollouts(
    product: Product, username: Username, password: Password, as_json: AsJson = False, data: Data = None
) -> None:
    """The newest roll-outs of a product, and how far they are."""
    with _asked(username, password, data) as api:
        found = api.rollouts(product)
    if as_json:
        typer.echo(json.dumps({"rollouts": found}, ensure_ascii=False))
        return
    console.print(rollout_screen.rollouts(found))


@app.command()
def show(
    rollout_id: RolloutId,
    product: Product,
    username: Username,
    password: Password,
    as_json: AsJson = False,
    data: Data = None,
) -> None:
    """One roll-out: its stages, turns and gates."""
    with _asked(username, password, data) as api:
        _show(api.rollout(product, rollout_id), as_json)


@app.command()
def watch(
    rollout_id: RolloutId,
    product: Product,
    username: Username,
    password: Password,
    as_json: AsJson = False,
    data: Data = None,
) -> None:
    """Watch a roll-out until it is over; ends with 1 if it did not complete. With --json a line whenever it moved."""
    with _asked(username, password, data) as api:
        found = api.rollout(product, rollout_id)
        progress = api.rollout_progress(product, rollout_id)
        if as_json:
            for found in progress:
                typer.echo(json.dumps(found, ensure_ascii=False))
        else:
            with Live(rollout_screen.rollout(found), console=console) as live:
                for found in progress:
                    live.update(rollout_screen.rollout(found))
            _say(rollout_screen.next_step(found))
    raise typer.Exit(0 if found["state"] == "completed" else 1)


@app.command()
def approve(
    rollout_id: RolloutId,
    product: Product,
    username: Username,
    password: Password,
    as_json: AsJson = False,
    data: Data = None,
) -> None:
    """Let a roll-out begin, or its next stage."""
    with _asked(username, password, data) as api:
        _show(api.decide_rollout(product, rollout_id, "approve"), as_json)


@app.command()
def pause(
    rollout_id: RolloutId,
    product: Product,
    username: Username,
    password: Password,
    reason: Reason = "",
    as_json: AsJson = False,
    data: Data = None,
) -> None:
    """Stop a roll-out for now: nobody gets a turn."""
    with _asked(username, password, data) as api:
        _show(api.decide_rollout(product, rollout_id, "pause", reason), as_json)


@app.command()
def resume(
    rollout_id: RolloutId,
    product: Product,
    username: Username,
    password: Password,
    as_json: AsJson = False,
    data: Data = None,
) -> None:
    """Let a roll-out go on where it was."""
    with _asked(username, password, data) as api:
        _show(api.decide_rollout(product, rollout_id, "resume"), as_json)


@app.command()
def cancel(
    rollout_id: RolloutId,
    product: Product,
    username: Username,
    password: Password,
    reason: Reason = "",
    as_json: AsJson = False,
    data: Data = None,
) -> None:
    """End a roll-out and touch nobody any more; who runs the version keeps it."""
    with _asked(username, password, data) as api:
        _show(api.decide_rollout(product, rollout_id, "cancel", reason), as_json)


@app.command()
def rollback(
    rollout_id: RolloutId,
    product: Product,
    username: Username,
    password: Password,
    reason: Reason = "",
    as_json: AsJson = False,
    data: Data = None,
) -> None:
    """End a roll-out: who runs the version gets back what is released, now."""
    with _asked(username, password, data) as api:
        _show(api.decide_rollout(product, rollout_id, "rollback", reason), as_json)


@app.command()
def devices(
    rollout_id: RolloutId,
    product: Product,
    username: Username,
    password: Password,
    state: Annotated[
        Literal["asked", "in_turn", "succeeded", "failed", "dark", "left"] | None, typer.Option(help="Only these.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=1_000, help="Most devices that are shown.")] = 100,
    as_json: AsJson = False,
    as_csv: Csv = False,
    data: Data = None,
) -> None:
    """Devices that asked for a turn, and what came of the last one."""
    with _asked(username, password, data) as api:
        if as_csv:
            _print(api.rollout_devices_as_csv(product, rollout_id, state))
            return
        found = api.rollout_devices(product, rollout_id, state, limit)
    if as_json:
        typer.echo(json.dumps(found, ensure_ascii=False))
        return
    console.print(rollout_screen.devices(found["devices"], DEVICE_COLUMNS))
    if found["meta"]["next"] is not None:
        _say(f"the first {limit}; --csv tells all")


@app.command()
def report(
    rollout_id: RolloutId,
    product: Product,
    username: Username,
    password: Password,
    as_json: AsJson = False,
    as_csv: Csv = False,
    data: Data = None,
) -> None:
    """What was predicted when it began, against what became of it."""
    with _asked(username, password, data) as api:
        if as_csv:
            _print(api.rollout_report_as_csv(product, rollout_id))
            return
        found = api.rollout_report(product, rollout_id)
    if as_json:
        typer.echo(json.dumps(found, ensure_ascii=False))
        return
    console.print(rollout_screen.report(found))


@contextmanager
def _asked(username: str, password: str, data: Path | None) -> Iterator[Api]:
    """The API; what it refuses says what to do about it."""
    with advised(), logged_in(username, password, data) as api:
        yield api


@contextmanager
def advised() -> Iterator[None]:
    """What is refused inside says the next step, too."""
    try:
        yield
    except ApiError as error:
        if error.code not in ADVICE:
            raise
        raise Refused(error.code, f"{error.description}\n  {ADVICE[error.code]}") from None


def _id(rollout_id: str | None) -> dict[str, str]:
    return {} if rollout_id is None else {"rollout_id": rollout_id}


def _show(found: Mapping[str, Any], as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(found, ensure_ascii=False))
        return
    console.print(rollout_screen.rollout(found))
    _say(rollout_screen.next_step(found))


def _print(pieces: Iterator[bytes]) -> None:
    for piece in pieces:
        sys.stdout.buffer.write(piece)
    sys.stdout.flush()


def _say(text: str, *, beside: bool = False) -> None:
    """``beside``: not into what is read by a program."""
    if beside:
        typer.echo(text, err=True)
    else:
        console.print(text, highlight=False, soft_wrap=True)
