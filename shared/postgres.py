"""What every use of PostgreSQL through SQLAlchemy asks first."""

from __future__ import annotations

from importlib.util import find_spec

from shared.errors import Refused


def check_url(url: str, kept: str) -> None:
    """Raises ``Refused`` for a URL of another kind (``bad_setting``, ``kept`` says what should be there), or when the
    driver is not installed (``missing_extra``)."""
    scheme = url.partition(":")[0]
    if scheme != "postgresql+psycopg":
        raise Refused("bad_setting", f"{scheme[:32]} keeps no {kept}: sqlite:///folder or postgresql+psycopg://…")
    if find_spec("psycopg") is None:
        raise Refused("missing_extra", "PostgreSQL needs its driver: pip install 'flotilla[postgres]'")
