"""Commands whose modules are imported only when they are asked for: most of a second that no other command shall pay,
the processes of the platform least of all."""

from __future__ import annotations

from importlib import import_module

import typer
from typer.core import TyperGroup
from typer.main import get_command, get_group

ELSEWHERE = {
    "events": "events_command:app",
    "projections": "projections_command:app",
    "messages": "messages_command:app",
    "mail": "mail_command:app",
    "hooks": "hooks_command:app",
    "billing": "billing_command:app",
    "people": "people_command:app",
    "replay": "replay_command:app",
    "devices": "fleet_commands:devices",
    "fleet": "fleet_command:app",
    "firmware": "firmware_command:app",
    "gateway": "gateway_command:app",
    "lock": "release_command:lock",
    "unlock": "release_command:unlock",
    "release": "release_command:release",
    "rollout": "rollout_command:app",
    "demo": "fleet_commands:demo",
    "why": "why_command:why_command",
    "audit": "audit_command:audit_command",
    "blobs": "blobs_command:app",
    "backup": "backup_command:backup",
    "restore": "backup_command:restore",
}
"""Name of each, with its module in ``deploy`` and the command or the group of commands there."""


class Commands(TyperGroup):
    """The commands of a module, and those of ``ELSEWHERE``."""

    def list_commands(self, ctx: typer.Context) -> list[str]:  # type: ignore[override]  # click's own class is its base
        """The names, in the order of the help."""
        return [*super().list_commands(ctx), *ELSEWHERE]

    def get_command(self, ctx: typer.Context, cmd_name: str):  # type: ignore[no-untyped-def, override]
        """The command, imported now if it is not yet; None if there is none."""
        if cmd_name not in ELSEWHERE:
            return super().get_command(ctx, cmd_name)
        module, _, attribute = ELSEWHERE[cmd_name].partition(":")
        found = getattr(import_module(f"deploy.{module}"), attribute)
        if isinstance(found, typer.Typer):
            command = get_group(found)
            command.name = cmd_name
            return command
        alone = typer.Typer(add_completion=False)
        alone.command(cmd_name)(found)
        return get_command(alone)
