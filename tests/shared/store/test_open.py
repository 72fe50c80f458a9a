from __future__ import annotations

import subprocess
import sys
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import pytest

from shared.errors import Refused
from shared.store import open_store
from shared.store.port import NO_STREAM, New


@pytest.mark.parametrize("options", ["", "?durability=full", "?durability=normal"])
@pytest.mark.parametrize("slashes", ["", "/"])
def test_a_url_opens_the_file_that_it_names(tmp_path: Path, options: str, slashes: str) -> None:
    path = tmp_path / "a folder" / "events #1 100%.db"
    with closing(open_store(f"sqlite://{slashes}{path}{options}")) as store:
        store.append("a", NO_STREAM, [New(uuid4(), "Happened", b"{}", b"{}")])
    assert path.stat().st_size > 0


@pytest.mark.parametrize(
    "url",
    [
        "",
        "/events.db",
        "sqlite:events.db",
        "sqlite://events.db",
        "sqlite:///",
        "esdb://localhost:2113",
        "sqlite:////tmp/never.db?durability=maybe",
        "sqlite:////tmp/never.db?durability=",
        "sqlite:////tmp/never.db?mode=ro",
    ],
)
def test_any_other_url_is_refused(url: str) -> None:
    with pytest.raises(Refused) as refusal:
        open_store(url)
    assert refusal.value.code == "bad_setting"


def test_the_store_takes_its_times_from_the_clock(tmp_path: Path) -> None:
    noon = datetime(2024, 2, 29, 12, 0, 0, 123_456, tzinfo=UTC)
    with closing(open_store(f"sqlite://{tmp_path}/events.db", clock=lambda: noon)) as store:
        store.append("a", NO_STREAM, [New(uuid4(), "Happened", b"{}", b"{}")])
        assert store.read("a")[0].at == noon


def test_importing_the_port_loads_no_adapter() -> None:
    script = "import sys, shared.store.port; print([name for name in sys.modules if 'sqlite' in name])"
    shown = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=30)
    assert shown.stdout.strip() == "[]"
