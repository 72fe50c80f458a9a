"""The official command line, as it is published, against the platform as it is started (contract 17)."""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from deploy.simulation.modules import build_module
from tests.clients.company import PASSWORD, Company

pytestmark = [pytest.mark.whole, pytest.mark.timeout(300)]

COMMAND_S = 60.0
COLOURS = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")


@dataclass(frozen=True)
class Cli:
    """``particle`` with a home of its own."""

    program: Path
    home: Path

    def run(self, *words: str, code: int = 0, typed: str = "") -> str:
        """What it prints, in plain text, when ``typed`` is what it reads."""
        done = subprocess.run(
            [str(self.program), *words],
            input=typed,
            capture_output=True,
            text=True,
            timeout=COMMAND_S,
            env=self.environment,
            check=False,
        )
        said = COLOURS.sub("", done.stdout + done.stderr)
        assert done.returncode == code, f"{words} ended with {done.returncode}: {said}"
        return said

    @property
    def environment(self) -> dict[str, str]:
        return {"HOME": str(self.home), "PATH": os.environ["PATH"], "NO_PROXY": "*"}

    @property
    def token(self) -> str | None:
        """The access token that it keeps."""
        kept: dict[str, str] = json.loads((self.home / ".particle" / "particle.config.json").read_text())
        return kept.get("access_token")

    def heard(self, *words: str, while_doing: Callable[[], None]) -> str:
        """What ``particle subscribe`` prints until it ends by itself. It says that it listens before it does, so the
        other thing is done again until then."""
        command = [str(self.program), "subscribe", *words]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=self.environment) as listening:
            try:
                deadline = time.monotonic() + COMMAND_S
                while listening.poll() is None and time.monotonic() < deadline:
                    while_doing()
            finally:
                listening.kill()
            assert listening.stdout is not None
            return listening.stdout.read()


@pytest.fixture(scope="module")
def cli(installed: Path, company: Company, tmp_path_factory: pytest.TempPathFactory) -> Cli:
    """Pointed at the platform, and logged in."""
    return logged_in(Cli(installed / "node_modules" / ".bin" / "particle", tmp_path_factory.mktemp("home")), company)


def logged_in(cli: Cli, company: Company) -> Cli:
    cli.run("config", "set", "apiUrl", company.url)
    assert "Successfully completed login" in cli.run("login", "--username", company.username, "--password", PASSWORD)
    return cli


def test_devices_are_listed_named_called_and_read(cli: Cli, company: Company) -> None:
    listed = cli.run("list")
    assert f"[{company.kettle}] (Product {company.product}) is online" in listed
    assert "temperature (double)" in listed
    assert "int brew (String args)" in listed
    assert company.spare not in listed
    assert "Successfully renamed" in cli.run("device", "rename", company.kettle, "samovar")
    first = int(cli.run("call", "samovar", "brew", "tea"))
    assert int(cli.run("call", company.kettle, "brew", "tea", "--product", str(company.product))) == first + 1
    assert "Function `bake` not found" in cli.run("call", "samovar", "bake", code=1)
    assert cli.run("get", "samovar", "name").strip() == f"kettle-{company.kettle[-6:]}"
    cli.run("nyan", "samovar", "on")
    assert "Okay!" in cli.run("device", "remove", "samovar", "--yes")
    assert company.kettle not in cli.run("list")
    assert "Successfully claimed device" in cli.run("device", "add", company.kettle)
    assert f"samovar [{company.kettle}]" in cli.run("list")


def test_the_owner_of_a_device_is_asked_for_it(installed: Path, company: Company, cli: Cli, tmp_path: Path) -> None:
    company.api.sign_up("yan@example.com", PASSWORD)
    yan = logged_in(replace(cli, home=tmp_path), replace(company, username="yan@example.com"))
    told = yan.run("device", "add", company.kettle, typed="y\n")
    assert "That device belongs to someone else. Would you like to request a transfer?" in told
    assert "Transfer requested. You will receive an email" in told


def test_events_are_published_and_heard(cli: Cli, company: Company) -> None:
    product = str(company.product)
    mine = cli.heard("note", "--until", "hello", while_doing=lambda: published(cli, "note", "hello"))
    assert event_in(mine) == {"name": "note", "data": "hello", "coreid": "api", "public": False}
    words = ("note/2", "--product", product, "--max", "1")
    ours = cli.heard(*words, while_doing=lambda: published(cli, "note/2", "ü", "--product", product))
    assert event_in(ours) == {"name": "note/2", "data": "ü", "coreid": "api", "public": False}
    reading = event_in(cli.run("subscribe", "te", "--device", company.kettle, "--max", "1"))
    assert (reading["coreid"], str(reading["name"])[:2]) == (company.kettle, "te")


def test_devices_of_a_product_are_listed_added_and_removed(cli: Cli, company: Company) -> None:
    product, another = str(company.product), "e" * 24
    listed = json.loads(cli.run("product", "device", "list", product, "--json"))
    assert {device["id"] for device in listed["data"]} >= {company.kettle, company.spare}
    assert f"[{company.spare}]" in cli.run("product", "device", "list", product, company.spare)
    assert "Success!" in cli.run("product", "device", "add", product, another)
    assert another in cli.run("product", "device", "list", product)
    assert f"Removed device {another}" in cli.run("product", "device", "remove", product, another)
    assert "Product not found." in cli.run("product", "device", "list", "999", code=1)


def test_a_compiled_file_is_flashed_to_a_device(cli: Cli, company: Company, tmp_path: Path) -> None:
    file, sources = tmp_path / "boiler.bin", tmp_path / "boiler.ino"
    file.write_bytes(build_module(company.product, 5, bytes(5_000)))
    sources.write_text("void loop() {}")
    assert "Flash success!" in cli.run("cloud", "flash", company.kettle, str(file))
    deadline = time.monotonic() + COMMAND_S
    while (kettle := kettle_of(company))["firmware_version"] != 5 or not kettle["online"]:
        assert time.monotonic() < deadline, kettle
        time.sleep(0.1)
    assert "Nothing is compiled here" in cli.run("cloud", "flash", company.kettle, str(sources), code=1)
    file.write_bytes(build_module(company.product + 1, 6, bytes(5_000)))
    assert "was compiled for product" in cli.run("cloud", "flash", company.kettle, str(file), code=1)


def test_tokens_are_made_and_revoked_and_logging_out_ends_ones_own(cli: Cli, company: Company, tmp_path: Path) -> None:
    cli = logged_in(replace(cli, home=tmp_path), company)
    made = re.search(r"^ {4}([0-9a-f]{40})$", cli.run("token", "create", typed=f"{PASSWORD}\n"), re.MULTILINE)
    assert made is not None
    assert works(company, made[1])
    assert "Successfully revoked" in cli.run("token", "revoke", made[1])
    assert not works(company, made[1])
    assert "There is no such token." in cli.run("token", "revoke", made[1])
    assert cli.run("whoami").strip() == f"> {company.username}"
    mine = cli.token
    assert mine is not None
    assert company.username in cli.run("logout")
    assert cli.token is None
    assert not works(company, mine)
    assert "You're not logged in" in cli.run("whoami", code=1)
    said = cli.run("login", "--username", company.username, "--password", "guess", code=1)
    assert "User credentials are invalid" in said


def kettle_of(company: Company) -> Any:
    return company.api.call("GET", f"/v1/products/{company.product}/devices/{company.kettle}")


def published(cli: Cli, *words: str) -> None:
    assert "Published private event" in cli.run("publish", *words)


def event_in(said: str) -> dict[str, object]:
    """The last event that was printed, without what is different each time."""
    lines = [line for line in said.splitlines() if line.startswith("{")]
    event: dict[str, object] = json.loads(lines[-1])
    return {name: event[name] for name in ("name", "data", "coreid", "public")}


def works(company: Company, token: str) -> bool:
    """Whether the token lets one in."""
    answer = httpx.get(f"{company.url}/v1/user", headers={"Authorization": f"Bearer {token}"})
    assert answer.status_code in (200, 401)
    return answer.status_code == 200
