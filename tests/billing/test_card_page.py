"""The page with the card form in a real browser, on the whole platform with the sandbox of payments."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.api import Api
from deploy.composition import embedded
from shared.settings import Settings
from tests.chromium import Page, browsing, installed

PASSWORD = "correct horse battery"
GOOD, REFUSED, ASKS_THE_BANK = "4242424242424242", "4000000000000002", "4000002500003155"
PORTS = {"http_port": 0, "mqtt_port": -1, "particle_tcp_port": -1, "particle_udp_port": -1}
BROWSER = installed()

pytestmark = pytest.mark.skipif(BROWSER is None, reason="there is no Chromium: apt-get install chromium")


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Page]:
    assert BROWSER is not None
    with browsing(BROWSER, tmp_path) as made:
        yield made


@pytest.fixture
def api(tmp_path: Path, sandbox: str) -> Iterator[tuple[Api, str]]:
    """Of an organization whose card was given without a browser, and where its gateway is."""
    settings = Settings.load({}, data=tmp_path / "data", payments=f"sandbox:{sandbox}", workers=2, **PORTS)
    runtime, gateway = embedded(settings)
    runtime.start()
    try:
        url = f"http://127.0.0.1:{gateway.http_port}"
        with Api(url) as made:
            made.sign_up("ada@example.com", PASSWORD)
            made.log_in("ada@example.com", PASSWORD)
            made.create_organization("Acme", "acme")
            yield made, url
    finally:
        runtime.stop()


def give(page: Page, url: str, number: str) -> None:
    page.open(f"{url}/orgs/acme/billing/card")
    page.until("document.querySelectorAll('#card-field input').length == 5")
    values = [number, "12", "39", "123", "12345"]
    page.run(
        f"document.querySelectorAll('#card-field input').forEach((field, n) => {{ field.value = {values}[n]; "
        "field.dispatchEvent(new Event('input')) })"
    )
    page.run("document.querySelector('#card-form button').click()")


def test_a_card_goes_from_the_browser_to_the_provider_and_never_to_us(api: tuple[Api, str], page: Page) -> None:
    platform, url = api  # BIL-6
    assert platform.billing("acme")["card"]["last4"] == "4242"
    page.open(f"{url}/orgs/acme/billing/card")
    page.until("document.forms[0]?.elements.username && true")
    login = f"form.elements.username.value = 'ada@example.com'; form.elements.password.value = '{PASSWORD}'"
    page.run(f"(() => {{ const form = document.forms[0]; {login}; form.submit() }})()")
    page.until("document.querySelector('#card-form') && true")
    assert page.run("document.cookie") == ""
    give(page, url, REFUSED)
    page.until("document.querySelector('#card-problem').textContent.includes('declined')")
    assert platform.billing("acme")["card"]["last4"] == "4242"
    give(page, url, ASKS_THE_BANK)
    page.until("[...document.querySelectorAll('button')].some(one => one.innerText.startsWith('Complete'))")
    page.run("[...document.querySelectorAll('button')].find(one => one.innerText.startsWith('Complete')).click()")
    page.until("document.body.innerText.includes('ending in 3155')")
    assert platform.billing("acme")["card"]["last4"] == "3155"
    give(page, url, GOOD)
    page.until("document.body.innerText.includes('ending in 4242')")
    asked = [(one, body) for one, body in page.sent if one.startswith(url)]
    assert not any(number in one + body for one, body in asked for number in (GOOD, REFUSED, ASKS_THE_BANK))
    assert any(GOOD in body for one, body in page.sent if not one.startswith(url))
    assert page.complaints == []
