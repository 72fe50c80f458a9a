"""Roll-outs, dry runs and reports as tables with bars."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from deploy.durations import told
from deploy.rollout_words import window_text

BAR = 24
REASONS = {
    "offered": "update now: online, and it is offered",
    "next_connection": "update at their next connection",
    "offline": "update when they come online",
    "updating": "are being updated to it",
    "not_now": "update when they take updates again",
    "runs": "run it already",
    "failing": "are left alone after failures",
    "other_groups": "are in none of the groups",
    "group_release": "have another release in a group",
    "other_rollout": "have a roll-out of their own in a group",
    "quarantined": "are in quarantine",
    "denied": "were denied",
    "other_product": "report another product",
    "development": "are development devices",
    "locked": "are locked to a version",
}
UPDATES = ("offered", "next_connection", "offline", "updating", "not_now")
OUTCOMES = {
    "as_predicted": "updated as predicted",
    "stayed": "stayed as predicted",
    "better": "updated, though nobody expected it",
    "worse": "failed, or went dark",
    "under_way": "wait for a turn, or have one",
    "not_yet": "are in a stage that has not begun",
    "never_came": "never came for their turn",
    "late": "joined late, and took part",
}
STYLES = {"running": "green", "completed": "green", "paused": "yellow", "held": "yellow", "rolled_back": "red"}


def dry_run(found: Mapping[str, Any]) -> RenderableType:
    """How far each stage goes, and why devices stay."""
    stages = _table("stage", "for", "devices", "then in all", "", "before it", "watched for")
    before = 0
    for number, stage in enumerate(found["stages"]):
        reaches = stage["reaches"]
        stages.add_row(
            str(number + 1),
            _size(stage),
            f"{max(0, reaches - before):,}",
            f"{reaches:,}",
            _bar(reaches, found["eligible"]),
            _before(number, stage),
            told(stage["soak_s"]),
        )
        before = reaches
    reasons = _table("devices", "", "what they would do")
    by_number = sorted(found["reasons"].items(), key=lambda one: (one[0] not in UPDATES, -one[1]))
    for reason, count in by_number:
        style = "green" if reason in UPDATES else "dim"
        reasons.add_row(f"{count:,}", _bar(count, found["devices"]), Text(REASONS.get(reason, reason), style=style))
    head = f"version {found['version']} to {_whom(found)}: {found['eligible']:,} of {found['devices']:,} would update"
    return Group(Text(head, style="bold"), stages, reasons)


def rollout(found: Mapping[str, Any]) -> RenderableType:
    """One roll-out: how far it is, what came of the turns, and what would stop it."""
    head = Text(f"roll-out {found['id']}: version {found['version']} to {_whom(found)}, ", style="bold")
    head.append(found["state"], style=STYLES.get(found["state"], ""))
    if found["gate"]:
        head.append(f" by the gate {found['gate']}")
    if found["reason"]:
        head.append(f" ({found['reason']})")
    counts = found["counts"]
    stages = _table("stage", "for", "devices", "", "before it", "began")
    for number, stage in enumerate(found["stages"]):
        stages.add_row(
            str(number + 1),
            _size(stage),
            _allowed(stage),
            _stage_bar(number, found),
            _before(number, stage),
            stage["began_at"] or "-",
        )
    turns = _table("turns", "devices", "")
    for name in ("taken", "in_flight", "succeeded", "failed", "dark", "left", "asked"):
        of = counts["taken"] if name != "asked" else counts["taken"] + counts["asked"]
        turns.add_row(name.replace("_", " "), f"{counts[name]:,}", _bar(counts[name], of))
    return Group(head, stages, turns, gates(found), Text(_pace(found), style="dim"))


def gates(found: Mapping[str, Any]) -> Table:
    """How near each gate is to closing."""
    counts, limits = found["counts"], found["gates"]
    known = counts["succeeded"] + counts["failed"] + counts["dark"]
    table = _table("gate", "now", "closes at", "")
    for name, counted in (("failed", counts["failed"]), ("dark", counts["dark"])):
        limit = limits[f"{name}_percent"]
        share = 100 * counted / known if known else 0.0
        closes = "never" if limit is None else f"{limit} % of {limits['at_least']:,} or more"
        table.add_row(name, f"{share:.1f} %", closes, "" if limit is None else _bar(min(share, limit), limit))
    ratio = limits["error_ratio_percent"]
    if ratio is not None:
        table.add_row("errors", "", f"{ratio} % of the other versions'", "")
    return table


def rollouts(found: Sequence[Mapping[str, Any]]) -> Table:
    """A line each."""
    table = _table("id", "version", "to", "state", "stage", "taken", "succeeded", "failed", "dark", "planned")
    for one in found:
        stage = "-" if one["stage"] is None else f"{one['stage'] + 1} of {len(one['stages'])}"
        counted = [f"{one['counts'][name]:,}" for name in ("taken", "succeeded", "failed", "dark")]
        state = Text(one["state"], style=STYLES.get(one["state"], ""))
        table.add_row(one["id"], str(one["version"]), _whom(one), state, stage, *counted, one["planned_at"])
    return table


def devices(found: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> Table:
    """A line each."""
    table = _table(*columns)
    for one in found:
        shown = {**one, "stage": one["stage"] + 1}
        table.add_row(*("-" if shown[name] is None else str(shown[name]) for name in columns))
    return table


def report(found: Mapping[str, Any]) -> RenderableType:
    """Prediction against fact."""
    table = _table("devices", "", "what became of them")
    for name, count in found["outcomes"].items():
        table.add_row(f"{count:,}", _bar(count, found["devices"]), OUTCOMES.get(name, name))
    return Group(Text(f"roll-out {found['rollout_id']} is {found['state']}", style="bold"), table)


def next_step(found: Mapping[str, Any]) -> str:
    """What is to be done about it, if anything is."""
    return {
        "planned": "it waits: flotilla rollout approve {id} begins it",
        "running": "watch it: flotilla rollout watch {id}",
        "held": "its stage is through: flotilla rollout approve {id} begins the next one",
        "paused": "look at it: flotilla rollout devices {id} --state failed; then resume, cancel or rollback {id}",
        "cancelled": "who runs the version keeps it: flotilla rollout rollback {id} gives back what is released",
        "completed": "it is released; flotilla rollout report {id} holds it against what was predicted",
    }.get(found["state"], "flotilla rollout report {id} holds it against what was predicted").format(id=found["id"])


def _whom(found: Mapping[str, Any]) -> str:
    return "all devices" if not found["groups"] else "groups " + ", ".join(found["groups"])


def _size(stage: Mapping[str, Any]) -> str:
    return f"{stage['percent']} %" if stage["percent"] is not None else f"{stage['devices']:,} devices"


def _before(number: int, stage: Mapping[str, Any]) -> str:
    return "approval" if stage["hold"] or number == 0 else "-"


def _allowed(stage: Mapping[str, Any]) -> str:
    if stage["began_at"] is None:
        return "-"
    return "all" if stage["allowed"] is None else f"{stage['allowed']:,}"


def _stage_bar(number: int, found: Mapping[str, Any]) -> RenderableType:
    stage, counts = found["stages"][number], found["counts"]
    if stage["began_at"] is None:
        return ""
    is_over = number != found["stage"] or found["state"] == "completed"
    if is_over or stage["allowed"] is None:
        done = counts["succeeded"] + counts["failed"] + counts["dark"]
        return _bar(1, 1) if is_over else _bar(done, max(1, counts["taken"] + counts["asked"]))
    return _bar(min(counts["taken"] - counts["in_flight"], stage["allowed"]), max(1, stage["allowed"]))


def _pace(found: Mapping[str, Any]) -> str:
    per_hour = "" if found["per_hour"] is None else f", {found['per_hour']:,} an hour"
    windows = "".join(f", {window_text(window)}" for window in found["windows"])
    return f"at most {found['at_once']:,} at once{per_hour}{windows}; a gate that closes: {found['gates']['then']}"


def _table(*headings: str) -> Table:
    table = Table()
    for heading in headings:
        numbers = heading in ("devices", "then in all", "taken", "succeeded", "failed", "dark", "now")
        table.add_column(heading, justify="right" if numbers else "left", no_wrap=True)
    return table


def _bar(count: float, of: float) -> ProgressBar:
    return ProgressBar(total=max(of, 1), completed=count, width=BAR)
