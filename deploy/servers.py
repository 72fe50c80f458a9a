"""``python -m deploy.servers``: the servers that tests start privately are installed, where that can be done.

Nothing is installed for a server that is given by its URL. Where it cannot be installed it says so; the tests then look
for Docker, and fail with all reasons if there is none either.
"""

from __future__ import annotations

import os

from deploy import postgres, rabbitmq
from shared.errors import Unavailable

SERVERS = {"RABBITMQ_URL": rabbitmq.ensure_installed, "POSTGRES_URL": postgres.ensure_installed}


def main() -> None:
    """Print what is used, and what is done to have it."""
    for variable, ensure in SERVERS.items():
        if os.environ.get(variable):
            print(f"{variable} is given")
            continue
        try:
            print(f"{ensure(tell=print)} is here")
        except Unavailable as reason:
            print(reason)


if __name__ == "__main__":
    main()
