"""``flotilla people``: who has an account, and forgetting somebody (EVT-5). Needs no running platform."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from services.orgs.people.accounts import ACCOUNTS, Account, stream_of
from services.orgs.people.addresses import account_of
from services.orgs.people.forgetting import Forgetting
from shared.clock import system_clock
from shared.context import Context
from shared.errors import NotFound
from shared.events.fields import FORGOTTEN
from shared.events.orgs import AccountCreated, AccountForgotten, EmailChanged
from shared.people.open import open_contracts
from shared.settings import Settings
from shared.store.open import open_existing
from shared.store.port import Only
from shared.store.walking import walk
from shared.streams import Streams

app = typer.Typer(help="People who have an account, and forgetting them.", no_args_is_help=True)
console = Console()

Data = Annotated[Path | None, typer.Option(help="Data folder (default: ./data).")]

_ACCOUNT_ID = re.compile(r"[0-9a-f]{24}")


@app.command("list")
def list_them(data: Data = None) -> None:
    """Every account with its id, its present address or that it is forgotten, and since when."""
    with _streams(Settings.load(data=data)) as streams:
        forgotten = {streams.contracts.decode(event).account_id: event for event in walk(streams.store, _FORGOTTEN)}
        moved = (streams.contracts.decode(event) for event in walk(streams.store, _MOVED))
        present = {event.account_id: event.email for event in moved}
        for recorded in walk(streams.store, _CREATED):
            created = streams.contracts.decode(recorded)
            end = forgotten.get(created.account_id)
            address = present.get(created.account_id, created.email)
            email = "key is missing" if address == FORGOTTEN else address
            shown, since = (FORGOTTEN, end.at) if end else (email, recorded.at)
            _say(f"{created.account_id}  {since:%Y-%m-%d %H:%M:%S}  {shown}")


@app.command()
def forget(
    who: Annotated[str, typer.Argument(metavar="EMAIL|ACCOUNT_ID")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    data: Data = None,
) -> None:
    """Destroy the key of everything personal of one account, for ever; the events stay, and say "forgotten"."""
    settings = Settings.load(data=data)
    with _streams(settings) as streams:
        account_id, account = _find(streams, who)
        if not account.forgotten:
            _announce(account_id, account)
            if not yes and not typer.confirm("Forget this person for ever?"):
                _say("nothing was done")
                raise typer.Exit(1)
        context = Context.new("system:operator", "flotilla people forget")
        Forgetting(streams, context, system_clock()).account(account_id)
        _say(f"account {account_id} is forgotten" + (", as it was before" if account.forgotten else ""))
        _say_what_is_left(streams, account_id, settings)


def _announce(account_id: str, account: Account) -> None:
    _say(f"account {account_id}: {account.email}")
    _say("  destroyed   the key of its address, name, company and password, in all events and in every copy of them")
    _say("  ended       its tokens and its log-in; the address may sign up again")
    if account.org_id is not None:
        _say("  ended       its seat in the team, unless nobody else there has full access")
    if account.founded is not None:
        _say(f"  stays       the organization {account.founded.slug} ({account.founded.org_id}) that it founded")
    _say('  stays       every event, with "forgotten" in place of what was personal')


def _say_what_is_left(streams: Streams, account_id: str, settings: Settings) -> None:
    contracts = streams.contracts
    plain = [
        event
        for event in streams.store.read(stream_of(account_id))
        if event.type in contracts.sealed_types and not contracts.is_sealed(event)
    ]
    if plain:
        _say(
            f"  still there {len(plain)} of its events from before personal data was sealed, as plain text in "
            f"{stream_of(account_id)}; views show them as forgotten"
        )
    table = settings.keys.rsplit("@", 1)[-1]
    _say(f"  to do       backups of the key table ({table}) hold the key until they are deleted or made anew")
    _say("  to do       backups of read models hold what views showed; running views have forgotten it, views of a")
    _say("              platform that is stopped forget when it starts")


def _find(streams: Streams, who: str) -> tuple[str, Account]:
    """The account of an address or with this id. Raises ``NotFound``."""
    text = who.strip()
    is_id = _ACCOUNT_ID.fullmatch(text.lower()) is not None
    account = streams.load(ACCOUNTS, stream_of(text.lower())).state if is_id else account_of(streams, text)
    if account.account_id is None:
        raise NotFound(f"there is no account {text!r}; `flotilla people list` shows all (a forgotten one by its id)")
    return account.account_id, account


_CREATED = Only(types=frozenset({AccountCreated.__name__}))
_MOVED = Only(types=frozenset({EmailChanged.__name__}))
_FORGOTTEN = Only(types=frozenset({AccountForgotten.__name__}))


@contextmanager
def _streams(settings: Settings) -> Iterator[Streams]:
    with ExitStack() as stack:
        store = stack.enter_context(closing(open_existing(settings.store)))
        yield Streams(store, stack.enter_context(open_contracts(settings.keys, store)))


def _say(text: str) -> None:
    console.print(text, markup=False, highlight=False, soft_wrap=True)
