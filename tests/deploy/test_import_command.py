"""``flotilla devices import`` against a running platform."""

from __future__ import annotations

import io
import json
import time
from base64 import b64encode
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from deploy.api import Api
from deploy.cli import app
from deploy.fleet_commands import started
from services.gateway.devices.particle import keys

pytestmark = [pytest.mark.whole, pytest.mark.timeout(240)]

WHO = ("ada@example.com", "correct horse battery")
IDS = [f"{number:024x}" for number in range(1 << 40, (1 << 40) + 4)]


def test_a_file_with_keys_is_imported_and_what_was_refused_is_told(tmp_path: Path) -> None:
    key, another = (b64encode(keys.public_der(keys.new_ec().public_key())).decode() for _ in range(2))
    file, data = tmp_path / "devices.csv", tmp_path / "data"
    data.mkdir()

    def imported(*lines: str) -> tuple[int, str]:
        file.write_text("\r\n".join(lines))
        return told_by("import", str(file))

    def told_by(*words: str) -> tuple[int, str]:
        who = ("--product", str(product), "--username", WHO[0], "--data", str(data))
        done = CliRunner(env={"PASSWORD": WHO[1], "COLUMNS": "200"}).invoke(app, ["devices", *words, *who])
        return done.exit_code, done.stdout

    with started("embedded", data, Console(file=io.StringIO())) as gateways, Api(str(gateways[0].http)) as api:
        api.sign_up(*WHO)
        api.log_in(*WHO)
        product = api.create_product(api.create_organization("Brewers", "brewers")["slug"], "Kettle", "Boils")["id"]
        code, told = imported(f"{IDS[0]},{key}", IDS[1], f"{IDS[2]},{key[:-8]}", f"{IDS[3]}\t{another}", "nonsense")
        assert code == 1
        assert "3 imported, 0 known already, 2 refused, 2 keys set" in told
        assert f"line 3: not a public key: neither PEM (BEGIN PUBLIC KEY) nor DER in base64: '{IDS[2]}'" in told
        assert "line 5: a device ID has 24 hex digits: 'nonsense'" in told
        code, told = imported(f"{IDS[0]},{another}", f"{IDS[3]},{another}", IDS[1])
        assert (code, "0 imported, 3 known already, 0 refused, 1 keys set" in told) == (0, True)
        code, told = imported(*IDS[:2])
        assert (code, "0 imported, 2 known already, 0 refused\n" in told) == (0, True)
        last, _, first = json.loads(told_by("imports", "--json")[1])["imports"]
        assert json.loads(told_by("import", "--watch", first["id"], "--json")[1])["import"] == first
        refused = told_by("import", "--watch", first["id"], "--csv")[1]
        assert "line,text,code,reason" in refused
        assert "nonsense" in refused
        assert told_by("imports", "--csv")[1].startswith("id,state,")
        assert told_by("cancel-import", last["id"])[0] == 1
        assert told_by("deny", *IDS[:2], "nonsense")[0] == 1
        assert "2 done" in told_by("forgive", *IDS[:2])[1]
        assert all(one in told_by("quarantine")[1] for one in IDS[:2])
        assert "2 done" in told_by("approve", "--quarantined", "--force")[1]
        assert '"devices": []' in told_by("quarantine", "--json")[1]
        assert "1 done, 0 were so already" in told_by("change", IDS[0], "--development", "--notes", "hall")[1]
        file.write_text(f"{IDS[0]}\n{IDS[1]}\n")
        assert "2 done" in told_by("group", "--file", str(file), "--add", "lab")[1]
        assert "1 done" in told_by("remove", IDS[1])[1]
        while len(found := api.devices(product, groups="lab")) > 1:  # the command's answer is not this client's
            time.sleep(0.05)
        (device,) = found
        assert (device["id"], device["development"], device["notes"]) == (IDS[0], True, "hall")
