"""From the settings to whoever keeps cards and moves money, and what a browser needs to give them a card."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from urllib.parse import urlsplit

from services.billing.provider import Provider
from shared.errors import Refused
from shared.settings import Settings

STRIPE_SCRIPT = "https://js.stripe.com/v3/"
STRIPE_API = "https://api.stripe.com"
SANDBOX_SCRIPT = "/js.stripe.com/v3/"
"""Where the sandbox has the script of the card form."""
SANDBOX_KEY = "sk_test_sandbox"
SANDBOX_PUBLISHABLE_KEY = "pk_test_sandbox"
"""The sandbox takes any keys of this kind; it keeps no secrets and moves no money."""
LIVE = ("sk_live_", "rk_live_")


@dataclass(frozen=True, slots=True)
class BrowserPayments:
    """What the provider's own card form needs: the key that is no secret, its script, and the address that this will
    call (contract 13.2)."""

    publishable_key: str
    script_url: str
    api_url: str


@dataclass(frozen=True, slots=True)
class Payments:
    """``provider`` is None where nobody is billed; ``is_live``: real money moves."""

    provider: Provider | None
    is_sandbox: bool
    is_live: bool
    browser: BrowserPayments


OFF = Payments(None, is_sandbox=False, is_live=False, browser=BrowserPayments("", "", ""))


def is_live(settings: Settings) -> bool:
    """Whether real money moves; needs no library."""
    return settings.payments == "stripe:" and settings.stripe_key.startswith(LIVE)


def open_payments(settings: Settings) -> Payments:
    """``off:``, ``stripe:`` or ``sandbox:http://host:port``. Raises ``Refused``: ``bad_setting``, for ``sandbox:`` too
    where nobody started one, and ``missing_extra`` without the library."""
    if settings.payments == "off:":
        return OFF
    if settings.payments not in ("stripe:", "sandbox:") and not settings.payments.startswith("sandbox:http"):
        reason = "FLOTILLA_PAYMENTS must be `stripe:`, `sandbox:`, `sandbox:http://host:port` or `off:`"
        raise Refused("bad_setting", reason)
    if find_spec("stripe") is None:
        reason = "payments need the optional extra `stripe`: pip install 'flotilla[stripe]', or FLOTILLA_PAYMENTS=off:"
        raise Refused("missing_extra", reason)
    secrets = tuple(secret.strip() for secret in settings.stripe_webhook_secrets.split(",") if secret.strip())
    return _stripe(settings, secrets) if settings.payments == "stripe:" else _sandbox(settings, secrets)


def _stripe(settings: Settings, secrets: tuple[str, ...]) -> Payments:
    from services.billing.stripe_provider import StripeProvider  # deferred: an optional extra, and half a second

    if not settings.stripe_key or not settings.stripe_publishable_key:
        reason = "FLOTILLA_PAYMENTS=stripe: needs FLOTILLA_STRIPE_KEY and FLOTILLA_STRIPE_PUBLISHABLE_KEY"
        raise Refused("bad_setting", reason)
    browser = BrowserPayments(settings.stripe_publishable_key, STRIPE_SCRIPT, STRIPE_API)
    provider = StripeProvider(settings.stripe_key, secrets)
    return Payments(provider, is_sandbox=False, is_live=is_live(settings), browser=browser)


def _sandbox(settings: Settings, secrets: tuple[str, ...]) -> Payments:
    from services.billing.sandbox_provider import SandboxProvider

    url = settings.payments.removeprefix("sandbox:")
    if urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).netloc:
        reason = (
            "no sandbox of payments runs beside this process: `flotilla run` and `flotilla up` start one; else give "
            "FLOTILLA_PAYMENTS=sandbox:http://host:port, `stripe:` with a key, or `off:`"
        )
        raise Refused("bad_setting", reason)
    url = url.rstrip("/")
    browser = BrowserPayments(SANDBOX_PUBLISHABLE_KEY, f"{url}{SANDBOX_SCRIPT}", url)
    provider = SandboxProvider(SANDBOX_KEY, secrets, url=url)
    return Payments(provider, is_sandbox=True, is_live=False, browser=browser)
