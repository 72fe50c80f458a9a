"""The six groups of tests, in the order in which ``make test`` runs them.

========  ==================================================================  =====================
group     what its tests may touch                                            which tests
========  ==================================================================  =====================
unit      nothing: no file written, no socket, database, thread or process    the modules in ``UNIT``
io        files, sockets, threads, processes                                  all that is not marked
broker    a RabbitMQ                                                          marked ``broker``
postgres  a PostgreSQL                                                        marked ``postgres``
whole     the platform as a user starts it                                    marked ``whole``
faults    the same, with all that it stands on killed, stopped or filled up   marked ``faults``
========  ==================================================================  =====================

A new module is of the group io until it is listed here. ``python -m tests.groups`` prints the modules of the first
group, so that nothing else need be imported to run them.
"""

from __future__ import annotations

import sys
from collections.abc import Collection
from pathlib import Path

FOLDER = Path(__file__).resolve().parent

UNIT = (
    "billing/test_subscriptions.py",
    "devices/test_device.py",
    "devices/test_fleet.py",
    "devices/test_gateways.py",
    "devices/test_id_file.py",
    "devices/test_past_difference.py",
    "devices/test_why_causes.py",
    "devices/test_why_links.py",
    "firmware/test_modules.py",
    "firmware/test_versions.py",
    "gateway/devices/mqtt/test_codec.py",
    "gateway/devices/mqtt/test_firmware.py",
    "gateway/devices/mqtt/test_limits.py",
    "gateway/devices/mqtt/test_session.py",
    "gateway/devices/test_conduct.py",
    "gateway/devices/test_timers.py",
    "gateway/devices/test_updates.py",
    "gateway/http/test_errors.py",
    "orgs/test_accounts.py",
    "orgs/test_creation.py",
    "orgs/test_forgetting.py",
    "orgs/test_grants.py",
    "orgs/test_names.py",
    "orgs/test_numbering.py",
    "orgs/test_organizations.py",
    "orgs/test_passwords.py",
    "orgs/test_products.py",
    "orgs/test_tokens.py",
    "shared/auth/test_permissions.py",
    "shared/bus/test_address.py",
    "shared/bus/test_wire.py",
    "shared/events/test_contracts.py",
    "shared/people/test_keys.py",
    "shared/people/test_personal.py",
    "shared/people/test_sealing.py",
    "shared/projections/test_past_moments.py",
    "shared/test_context.py",
    "shared/store/archive/test_lines.py",
    "shared/store/test_walking.py",
    "shared/test_runtime.py",
    "shared/test_settings.py",
    "shared/test_targets.py",
)


CACHES = (".hypothesis", ".pyc")
"""Files that Python and hypothesis write for themselves."""


def group_of(path: Path, markers: Collection[str]) -> str:
    """The group of a test in the module ``path`` that has these markers."""
    for marked in ("faults", "whole", "broker", "postgres"):
        if marked in markers:
            return marked
    return "unit" if path.relative_to(FOLDER).as_posix() in UNIT else "io"


class Guard:
    """Fails the test that touches the world while ``closed``; an audit hook, so it can be added but not removed."""

    FORBIDDEN = ("socket.", "sqlite3.", "subprocess.", "os.fork", "os.posix_spawn", "os.exec", "tempfile.")

    def __init__(self) -> None:
        self.closed = False
        sys.addaudithook(self._heard)

    def _heard(self, event: str, arguments: tuple[object, ...]) -> None:
        if not self.closed or not (event.startswith(self.FORBIDDEN) or (event == "open" and _writes(*arguments[:2]))):
            return
        if not any(cache in str(arguments) for cache in CACHES):
            self.closed = False  # what tells of it may write
            raise Touched(f"a unit test may not do this ({event} {arguments!r}); move it to a module of the group io")


class Touched(BaseException):
    """A unit test touched the world; nothing under test may catch it."""


def _writes(file: object, mode: object) -> bool:
    """A number is a file that is open already, which has passed here before."""
    return not isinstance(file, int) and isinstance(mode, str) and not set(mode).isdisjoint("wax+")


if __name__ == "__main__":
    print("\n".join(str(FOLDER.relative_to(Path.cwd()) / name) for name in UNIT))
