"""The official clients, installed; a platform for them, started once; and a company with a product of Photons."""

from __future__ import annotations

import io
import json
import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from deploy.api import Api
from deploy.fleet_commands import started
from deploy.running import Process
from deploy.simulate_command import keys_of
from shared.errors import Unavailable
from shared.settings import Settings
from tests.clients.company import PASSWORD, Company, Told
from tests.clients.installed import HERE, ensure_installed
from tests.clients.kettles import switched_on

STORY_S = 120.0
"""How long a story may take; what it waits for comes within seconds."""


@pytest.fixture(scope="session")
def installed() -> Path:
    """The folder of the official clients."""
    try:
        return ensure_installed()
    except Unavailable as reason:
        pytest.skip(str(reason))


@pytest.fixture(scope="session")
def run_story(installed: Path) -> Callable[..., Told]:
    """Runs a script of this folder with the JavaScript client; what it told, a JSON object a line. ``on_step`` hears
    each as it comes."""

    def run(script: str, *words: str, on_step: Callable[[dict[str, Any]], None] = lambda _: None) -> Told:
        told: Told = []
        command = ["node", str(HERE / script), *words]
        environment = {"NODE_PATH": str(installed / "node_modules"), "PATH": os.environ["PATH"]}
        with (
            tempfile.TemporaryFile("w+") as errors,
            subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True, env=environment) as story,
        ):
            try:
                assert story.stdout is not None
                for line in story.stdout:
                    told.append(json.loads(line))
                    on_step(told[-1])
                code = story.wait(STORY_S)
            finally:
                story.kill()
            errors.seek(0)
            assert code == 0, f"after {told[-1:]}: {errors.read()[-2_000:]}"
        return told

    return run


@pytest.fixture(scope="session")
def platform(installed: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Process, Path]]:
    """One process, and its data folder."""
    data = tmp_path_factory.mktemp("official") / "data"
    data.mkdir()
    with started("embedded", data, Console(file=io.StringIO())) as gateways:
        yield gateways[0], data


@pytest.fixture(scope="session")
def company(platform: tuple[Process, Path]) -> Iterator[Company]:
    """See ``Company``."""
    gateway, data = platform
    username, kettle, spare = "kay@example.com", "c" * 24, "d" * 24
    keys = keys_of(Settings.load({}, data=data))
    with ExitStack() as stack:
        api = stack.enter_context(Api(str(gateway.http)))
        api.sign_up(username, PASSWORD)
        api.log_in(username, PASSWORD)
        organization = api.create_organization("Kettles", "kettles")
        product = api.create_product(organization["slug"], "Kettle", "Boils", "Photon")["id"]
        api.import_devices(product, f"{kettle}\n{spare}\n".encode())

        def switch_on(device_id: str, claim_code: str) -> None:
            assert gateway.particle is not None
            stack.enter_context(switched_on(api, gateway.particle, keys, product, device_id, claim_code))

        switch_on(kettle, api.call("POST", "/v1/device_claims", json={})["claim_code"])
        yield Company(str(gateway.http), username, product, kettle, spare, switch_on, api)
