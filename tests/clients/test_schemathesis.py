"""schemathesis, made from our OpenAPI document, against the whole platform in this process (contract: all of it).

It asks as a member of a team that has something of everything, so that most calls get past the question who may.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import pytest

from deploy.api import Api
from deploy.composition import embedded
from deploy.simulate_command import keys_of
from services.gateway.http.ports import Limits
from shared.settings import Settings
from tests.clients.kettles import switched_on

pytestmark = [pytest.mark.whole, pytest.mark.timeout(1000)]

EXAMPLES = {"positive": 1, "all": 20}
"""Of the fuzzing phase, for each call; the coverage phase has as many as the document has corners, and with ``all``
twice as many more that do not fit it."""
ROOT = Path(__file__).resolve().parents[2]
READY_S = 30.0
MOST_S = 900
LEFT_OUT = "/events(/|$)|^/v1/(products|orgs)/[^/]+/(webhooks|integrations)"
"""Streams never end; what stands before their first byte is what stands before any other answer, and has tests. A
product's and an organization's webhooks are a person's, but for who may."""
PATCH = '[phases.coverage]\nunexpected-methods = ["PATCH"]'
"""One method that no path knows stands for all."""
PASSWORD = "correct horse battery"
LAMP, SPARE, KETTLE = "a" * 24, "b" * 24, "c" * 24
LOSING_A_TOKEN = ("DELETE /v1/access_tokens", "DELETE /v1/access_tokens/current", "DELETE /v1/user")
"""Calls that could end the token with which all others are made: each is made by somebody else."""
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "allow_header_conformance",
    "use_after_free",
    "success_is_named",
)
"""Left out: that all data that fit the document are taken and no others are, for rules say more than schemas (a name
that is taken, a version that must be higher) and numbers may come as text (contract 1.4); that calls without a token
are 401, for the contract says 400 (1.6); and what the walk over the table of permissions tests for every caller."""


UNLIMITED = Limits(
    **{field.name: 1e6 for field in fields(Limits) if field.name.endswith(("_burst", "_per_s"))}  # type: ignore[arg-type]
)
"""Thousands of calls from one address within seconds are what this is."""


@dataclass(frozen=True)
class Company:
    """Where it is; its product of which a device is online; what stands in paths, by the parameter's name; what stands
    there in some calls instead; and the tokens of those who make the calls that nobody makes twice."""

    url: str
    token: str
    kettles: int
    known: Mapping[str, str]
    special: Mapping[str, Mapping[str, str]]
    others: Mapping[str, str]


@pytest.fixture
def company(tmp_path: Path) -> Iterator[Company]:
    ports = {"http_port": 0, "mqtt_port": 0, "particle_tcp_port": 0, "particle_udp_port": 0}
    settings = Settings.load({}, data=tmp_path / "data", payments="off:", workers=2, **ports)
    runtime, gateway = embedded(settings, limits=UNLIMITED)
    runtime.start()
    try:
        url = f"http://127.0.0.1:{gateway.http_port}"
        with Api(url) as api:
            made = founded(api, url)
            device = switched_on(
                api, ("127.0.0.1", gateway.port("particle-tcp")), keys_of(settings), made.kettles, KETTLE
            )
            with device:
                deadline = time.monotonic() + READY_S
                while not api.call("GET", f"/v1/devices/{KETTLE}")["functions"]:
                    assert time.monotonic() < deadline, "the kettle did not connect"
                    time.sleep(0.05)
                yield made
    finally:
        runtime.stop()


def founded(api: Api, url: str) -> Company:
    others = {}
    for number, call in enumerate(LOSING_A_TOKEN):
        api.sign_up(f"leaving{number}@example.com", PASSWORD)
        others[call] = api.log_in(f"leaving{number}@example.com", PASSWORD)
    for name in ("ada", "bob"):
        api.sign_up(f"{name}@example.com", PASSWORD)
    spare_token = api.log_in("ada@example.com", PASSWORD)
    token = api.log_in("ada@example.com", PASSWORD)
    api.create_organization("Acme", "acme")
    lamp = api.create_product("acme", "Lamp", "Shines")["id"]
    empty = api.create_product("acme", "Empty", "Has no devices")["id"]
    kettles = api.create_product("acme", "Kettle", "Boils", "Photon")["id"]
    path = f"/v1/products/{lamp}"
    api.import_devices(lamp, f"{LAMP}\n{SPARE}\n".encode())
    api.import_devices(kettles, KETTLE.encode())
    api.upload_firmware(lamp, 1, "first", b"anything")
    clients = [(client(api, place, "App"), client(api, place, "Other")) for place in ("/v1", "/v1/orgs/acme", path)]
    for email in ("jo@example.com", "kay@example.com"):
        api.call("POST", f"{path}/customers", json={"email": email, "password": PASSWORD})
    api.call("POST", f"{path}/activation_codes", json={"customers": ["jo@example.com"]})
    api.call("POST", "/v1/orgs/acme/team", json={"username": "bob@example.com"})
    job = api.start_import(lamp, f"{LAMP}\nno device\n".encode())
    known = {
        "product": str(lamp),
        "org": "acme",
        "device": LAMP,
        "version": "1",
        "email": "jo@example.com",
        "username": "ada@example.com",
        "import": job["id"],
        "token": spare_token,
        "hook": hook(api),
    }
    one_product = "/v1/products/{product}"
    special = {
        f"DELETE {one_product}": {"product": str(empty)},
        f"DELETE {one_product}/devices/{{device}}": {"device": SPARE},
        f"DELETE {one_product}/customers/{{email}}": {"email": "kay@example.com"},
        f"DELETE {one_product}/team/{{username}}": {"username": "bob@example.com"},
        "DELETE /v1/orgs/{org}/team/{username}": {"username": "bob@example.com"},
    }
    for shape in (f"{one_product}/devices/{{device}}", "/v1/devices/{device}"):
        kettle = {"product": str(kettles), "device": KETTLE}
        special[f"POST {shape}/{{name}}"] = {**kettle, "name": "brew"}
        special[f"GET {shape}/{{name}}"] = {**kettle, "name": "temperature"}
    for shape, (kept, lost) in zip(("/v1", "/v1/orgs/{org}", one_product), clients, strict=True):
        special[f"PUT {shape}/clients/{{client}}"] = {"client": kept}
        special[f"DELETE {shape}/clients/{{client}}"] = {"client": lost}
    for view in ("webhooks", "integrations"):
        special[f"DELETE /v1/{view}/{{hook}}"] = {"hook": hook(api)}
    return Company(url, token, kettles, known, special, others)


def client(api: Api, place: str, name: str) -> str:
    made: str = api.call("POST", f"{place}/clients", json={"name": name, "type": "installed"})["client"]["id"]
    return made


def hook(api: Api) -> str:
    """It reaches nobody."""
    fields = {"event": "nothing", "url": "http://127.0.0.1:9/"}
    made: str = api.call("POST", "/v1/integrations", json=fields)["id"]
    return made


def configuration(company: Company) -> str:
    """In TOML. Paths are of what there is: what there is not is asked for by the walk over the permissions."""
    lines = [f'headers = {{ Authorization = "Bearer {company.token}" }}', PATCH, "[parameters]"]
    lines.append('"header.X-Flotilla-Position" = "0"')  # whoever has seen the future is made to wait for it
    lines += [f'"path.{name}" = "{value}"' for name, value in company.known.items()]
    for call, token in company.others.items():
        lines += ["[[operations]]", f'include-name = "{call}"', f'headers = {{ Authorization = "Bearer {token}" }}']
    for call, instead in company.special.items():
        pinned = ", ".join(f'"path.{name}" = "{value}"' for name, value in instead.items())
        lines += ["[[operations]]", f'include-name = "{call}"', f"parameters = {{ {pinned} }}"]
    return "\n".join(lines)


@pytest.mark.parametrize("mode", ["positive", pytest.param("all", marks=pytest.mark.long)])
def test_the_api_answers_as_its_document_says(company: Company, tmp_path: Path, capsys: Any, mode: str) -> None:
    (tmp_path / "schemathesis.toml").write_text(configuration(company))
    command = [sys.executable, "-m", "schemathesis.cli", "--config-file", "schemathesis.toml", "run"]
    command += ["--url", company.url, "--checks", ",".join(CHECKS), "--phases", "coverage,fuzzing", "--mode", mode]
    command += [
        "--generation-deterministic",
        "--max-examples",
        str(EXAMPLES[mode]),
        "--no-shrink",
        "--continue-on-failure",
    ]
    command += ["--exclude-path-regex", LEFT_OUT, "--warnings", "off", "--suppress-health-check", "all", "--no-color"]
    environment = {
        **os.environ,
        "COLUMNS": "160",
        "SCHEMATHESIS_HOOKS": "tests.clients.successes",
        "PYTHONPATH": str(ROOT),
    }
    command.append(f"{company.url}/openapi.json")
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=MOST_S, check=False
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-20_000:]
    summary = re.search(r"Test cases:\s+(\d+) generated", done.stdout)
    assert summary is not None
    with capsys.disabled():
        print(f"\nschemathesis: {summary[1]} calls")
    assert int(summary[1]) > 4_000
