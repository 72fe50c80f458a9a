"""Documents made from code: ``python -m deploy.generated`` writes them, ``--check`` says which are out of date.

Both also say where manifests and documents do not fit the settings (``deploy.manifests``).
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from deploy import manifests
from deploy.permissions_page import permissions_table
from deploy.queries_page import fields_table
from deploy.targets_page import targets_table
from shared.events.catalogue import catalogue
from shared.events.contracts import CONTRACTS
from shared.settings import table

ROOT = Path(__file__).resolve().parent.parent
SETTINGS = """# Settings

Written by `make docs` from `shared/settings.py`; CI fails when it is out of date. An unknown `FLOTILLA_` variable or a
value of the wrong kind stops the start with a sentence that says which.

"""
PAGES: dict[str, Callable[[], str]] = {
    "docs/events.md": lambda: catalogue(CONTRACTS),
    "docs/settings.md": lambda: SETTINGS + table() + "\n",
    "docs/operations.md": lambda: with_part("docs/operations.md", "targets", targets_table()),
    "docs/queries.md": lambda: with_part("docs/queries.md", "fields", fields_table()),
    "docs/security.md": lambda: with_part("docs/security.md", "permissions", permissions_table()),
}


def with_part(name: str, part: str, text: str) -> str:
    """A page that is written by hand but for this part, which stands between two comments. Raises ``ValueError`` for a
    page without them."""
    begin, end = f"<!-- {part}: written by `make docs` -->\n", f"<!-- end of {part} -->\n"
    page = (ROOT / name).read_text(encoding="utf-8")
    before, found, rest = page.partition(begin)
    _, closed, after = rest.partition(end)
    if not (found and closed):
        raise ValueError(f"{name} has no part {part!r}")
    return f"{before}{begin}\n{text}\n{end}{after}"


def main(check: bool) -> int:
    """Write the pages, or with ``check`` only compare; the number of pages that were out of date, and of other
    problems."""
    old = 0
    for name, make in PAGES.items():
        path, text = ROOT / name, make()
        if path.exists() and path.read_text(encoding="utf-8") == text:
            continue
        old += 1
        if check:
            print(f"{name} is out of date: run `make docs`")
        else:
            path.write_text(text, encoding="utf-8")
            print(f"{name} written")
    unfit = manifests.problems()
    print("".join(f"{problem}\n" for problem in unfit), end="")
    return old + (len(unfit) if check else 0)


if __name__ == "__main__":
    checking = "--check" in sys.argv[1:]
    outdated = main(checking)
    sys.exit(1 if checking and outdated else 0)
