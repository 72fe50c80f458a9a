"""``flotilla devices import``, ``imports`` and ``cancel-import``: files of device IDs (DEV-1)."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, BinaryIO, cast

import typer
from rich.table import Table

from deploy.api import Api
from deploy.bars import bar
from deploy.csv_output import Csv, print_csv
from deploy.running import DataFolder
from deploy.wide import people_console
from services.gateway.http import documents
from shared.errors import Refused, Unavailable
from shared.settings import Settings

console = people_console(markup=False)
LISTED_S = 30.0
"""How far what is listed may be behind what was watched."""
COLUMNS = ("id", "started_at", "state", "lines_done", "lines_total", "updated", "existing", "refused", "keys_set")

Product = Annotated[int, typer.Option(help="The product's ID.")]
Username = Annotated[str, typer.Option(prompt=True, help="A team member's email.")]
Password = Annotated[str, typer.Option(prompt=True, hide_input=True, envvar="PASSWORD", help="Better by PASSWORD.")]
Data = Annotated[Path | None, typer.Option(help="Data folder of the running platform (default: ./data).")]
AsJson = Annotated[bool, typer.Option("--json", help="The document of the API instead of text.")]
ImportId = Annotated[str, typer.Argument(metavar="ID", help="The import's ID.")]


def import_file(
    product: Product,
    username: Username,
    password: Password,
    file: Annotated[
        Path | None,
        typer.Argument(exists=True, dir_okay=False, help="One device ID a line; behind it, if you like, its key."),
    ] = None,
    watch: Annotated[str | None, typer.Option(metavar="ID", help="Show an import that was begun before.")] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Devices count as the product's whatever they report.")
    ] = False,
    as_json: AsJson = False,
    as_csv: Csv = False,
    data: Data = None,
) -> None:
    """Import a file of device IDs, of any length, with progress; ends with 1 if a line was refused (DEV-1).

    Behind an ID may stand a comma and the device's public key: the DER of its SubjectPublicKeyInfo in base64. Whoever
    stops this command does not stop the import: --watch shows it again, cancel-import ends it.

    --csv lists the lines that were refused.
    """
    if (file is None) is (watch is None):
        raise Refused("invalid_request", "name a file, or with --watch an import that was begun before")
    with logged_in(username, password, data) as api:
        import_id = watch or _upload(api, product, file, force=force)
        job = _watched(api, product, import_id)
        problems = _problems(api, product, job)
    if as_json:
        typer.echo(json.dumps({"import": job, "problems": problems}, ensure_ascii=False))
    elif as_csv:
        print_csv(documents.Problem(), problems)
    else:
        keys = f", {job['keys_set']} keys set" if job["keys_set"] else ""
        left = "" if job["state"] == "done" else f", cancelled with {job['lines_total'] - job['lines_done']} lines left"
        told = f"{job['updated']} imported, {job['existing']} known already, {job['refused']} refused{keys}{left}"
        console.print(told, highlight=False)
        for problem in problems:
            console.print(f"  {problem['reason']}: {problem['text']!r}", highlight=False)
    raise typer.Exit(1 if job["refused"] or job["state"] != "done" else 0)


def _problems(api: Api, product: int, job: Mapping[str, Any]) -> list[dict[str, Any]]:
    """All lines that were refused; what is listed may be a moment behind the job that was watched. Raises
    ``Unavailable``."""
    until_s = time.monotonic() + LISTED_S
    while len(found := list(api.import_problems(product, job["id"]))) < job["refused"]:
        if time.monotonic() > until_s:
            raise Unavailable(
                f"{job['refused']} lines were refused, {len(found)} are listed yet; see --watch {job['id']}"
            )
        time.sleep(0.1)
    return found


def list_imports(
    product: Product,
    username: Username,
    password: Password,
    limit: Annotated[int, typer.Option(min=1, max=100)] = 20,
    as_json: AsJson = False,
    as_csv: Csv = False,
    data: Data = None,
) -> None:
    """Imports of a product, the newest first, and how far each is."""
    with logged_in(username, password, data) as api:
        found = api.imports(product, limit)
    if as_json:
        typer.echo(json.dumps({"imports": found}))
        return
    if as_csv:
        print_csv(documents.Import(), found)
        return
    shown = Table(*COLUMNS)
    for job in found:
        shown.add_row(*(str(job[name]) for name in COLUMNS))
    console.print(shown)


def cancel_import(
    import_id: ImportId, product: Product, username: Username, password: Password, data: Data = None
) -> None:
    """End an import; devices that it has imported stay."""
    with logged_in(username, password, data) as api:
        job = api.cancel_import(product, import_id)
        *_, job = (job, *api.import_progress(product, import_id))
    console.print(f"{job['state']}: {job['updated']} devices were imported and stay", highlight=False)


@contextmanager
def logged_in(username: str, password: str, data: Path | None) -> Iterator[Api]:
    """The API of the platform that runs on this folder."""
    gateways = DataFolder(Settings.load(data=data).data).running_gateways()
    with Api(str(gateways[0].http)) as api:
        api.log_in(username, password)
        yield api


def _upload(api: Api, product: int, path: Path | None, *, force: bool) -> str:
    assert path is not None
    size_bytes = path.stat().st_size
    with path.open("rb") as file, bar("uploading", size_bytes, unit="bytes") as moved:
        told = cast(BinaryIO, _Told(file, lambda done: moved(done, done)))
        job = api.start_import(product, told, force=force)
    import_id: str = job["id"]
    typer.echo(f"import {import_id} of {job['lines_total']} lines", err=True)
    return import_id


def _watched(api: Api, product: int, import_id: str) -> Mapping[str, Any]:
    told = api.import_progress(product, import_id)
    job = next(told)
    done = job["lines_done"]
    with bar("importing", job["lines_total"], unit="lines", before=done) as moved:
        for job in told:
            moved(job["lines_done"], job["lines_done"])
    return job


class _Told:
    """A file that says how much of it was read."""

    def __init__(self, file: BinaryIO, read: Callable[[int], None]) -> None:
        self._file = file
        self._told = read

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def read(self, size: int = -1) -> bytes:
        """As of the file."""
        data = self._file.read(size)
        self._told(self._file.tell())
        return data
