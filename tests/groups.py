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
    "billing/test_charging.py",
    "billing/test_drafts.py",
    "billing/test_examples.py",
    "billing/mail/test_wording.py",
    "billing/test_operating.py",
    "billing/test_properties.py",
    "billing/test_simulation.py",
    "billing/test_subscriptions.py",
    "billing/test_summary.py",
    "deploy/test_blob_references.py",
    "deploy/simulation/test_conditions.py",
    "deploy/simulation/test_particle_session.py",
    "devices/test_attribute_view.py",
    "devices/test_attributes.py",
    "devices/test_claim_window.py",
    "devices/test_claims.py",
    "devices/test_details.py",
    "devices/test_device.py",
    "devices/test_errors.py",
    "devices/test_fleet.py",
    "devices/test_gateways.py",
    "devices/test_groups.py",
    "devices/test_happened.py",
    "devices/test_id_file.py",
    "devices/test_past_difference.py",
    "devices/test_usage.py",
    "devices/test_query_language.py",
    "devices/test_prediction.py",
    "devices/test_why_causes.py",
    "devices/test_why_links.py",
    "firmware/rollouts/test_control.py",
    "firmware/rollouts/test_machine.py",
    "firmware/rollouts/test_rounds.py",
    "firmware/rollouts/test_stories.py",
    "firmware/rollouts/test_turns.py",
    "firmware/rollouts/test_watch_view.py",
    "firmware/rollouts/test_windows.py",
    "firmware/test_modules.py",
    "firmware/test_prefixes.py",
    "firmware/test_signatures.py",
    "firmware/test_signing.py",
    "firmware/test_versions.py",
    "gateway/devices/mqtt/test_attribute_properties.py",
    "gateway/devices/mqtt/test_attributes.py",
    "gateway/devices/mqtt/test_calls.py",
    "gateway/devices/mqtt/test_certificates.py",
    "gateway/devices/mqtt/test_claiming.py",
    "gateway/devices/mqtt/test_codec.py",
    "gateway/devices/mqtt/test_firmware.py",
    "gateway/devices/mqtt/test_refusals.py",
    "gateway/devices/mqtt/test_rules.py",
    "gateway/devices/mqtt/test_provisioning.py",
    "gateway/devices/mqtt/test_session.py",
    "gateway/devices/particle/dtls/test_client.py",
    "gateway/devices/particle/dtls/test_endpoint.py",
    "gateway/devices/particle/dtls/test_handshake.py",
    "gateway/devices/particle/dtls/test_messages.py",
    "gateway/devices/particle/dtls/test_recorded_sessions.py",
    "gateway/devices/particle/dtls/test_records.py",
    "gateway/devices/particle/dtls/test_session.py",
    "gateway/devices/particle/test_admission.py",
    "gateway/devices/particle/test_bad_input.py",
    "gateway/devices/particle/test_coap.py",
    "gateway/devices/particle/test_continuing.py",
    "gateway/devices/particle/test_decoders.py",
    "gateway/devices/particle/test_describe.py",
    "gateway/devices/particle/test_exchange.py",
    "gateway/devices/particle/test_frames.py",
    "gateway/devices/particle/test_handshake.py",
    "gateway/devices/particle/test_keys.py",
    "gateway/devices/particle/test_messages.py",
    "gateway/devices/particle/test_payloads.py",
    "gateway/devices/particle/test_replay.py",
    "gateway/devices/particle/test_sender.py",
    "gateway/devices/particle/test_session.py",
    "gateway/devices/particle/test_turns.py",
    "gateway/devices/particle/test_updates.py",
    "gateway/devices/particle/test_updating.py",
    "gateway/devices/particle/test_vectors.py",
    "gateway/devices/particle/test_whole_updates.py",
    "gateway/devices/test_conduct.py",
    "gateway/devices/test_errors.py",
    "gateway/devices/test_firmware.py",
    "gateway/devices/test_latest.py",
    "gateway/devices/test_admissions.py",
    "gateway/devices/test_limits.py",
    "gateway/devices/test_newcomers.py",
    "gateway/devices/test_packing.py",
    "gateway/devices/test_rollout_turns.py",
    "gateway/devices/test_throttle.py",
    "gateway/devices/test_turns.py",
    "gateway/devices/test_usage.py",
    "gateway/devices/test_waiting.py",
    "gateway/devices/test_sessions.py",
    "gateway/devices/test_subscriptions.py",
    "gateway/devices/test_timers.py",
    "gateway/devices/test_transfers.py",
    "gateway/devices/test_updates.py",
    "gateway/http/test_errors.py",
    "gateway/http/test_ranges.py",
    "hooks/test_requests.py",
    "hooks/test_schedule.py",
    "hooks/test_webhooks.py",
    "gateway/http/test_rollout_report.py",
    "orgs/audit/test_audit_view.py",
    "orgs/customers/test_beta.py",
    "orgs/customers/test_customers.py",
    "orgs/oauth/test_grants.py",
    "orgs/oauth/test_logging_in.py",
    "orgs/oauth/test_tokens.py",
    "orgs/people/test_accounts.py",
    "orgs/people/test_creation.py",
    "orgs/people/test_forgetting.py",
    "orgs/people/test_own_account.py",
    "orgs/people/test_passwords.py",
    "orgs/products/test_access_requests.py",
    "orgs/products/test_authorities.py",
    "orgs/products/test_certificates.py",
    "orgs/products/test_configuring.py",
    "orgs/products/test_device_access.py",
    "orgs/products/test_numbering.py",
    "orgs/products/test_product_groups.py",
    "orgs/products/test_products.py",
    "orgs/products/test_questionnaire.py",
    "orgs/teams/test_membership.py",
    "orgs/teams/test_organizations.py",
    "orgs/test_names.py",
    "shared/auth/test_permissions.py",
    "shared/bus/test_address.py",
    "shared/bus/test_patient_calls.py",
    "shared/bus/test_wire.py",
    "shared/test_card_numbers.py",
    "shared/events/test_contracts.py",
    "shared/mail/test_bouncing.py",
    "shared/people/test_addresses.py",
    "shared/people/test_keys.py",
    "shared/people/test_personal.py",
    "shared/people/test_sealing.py",
    "shared/projections/test_past_moments.py",
    "shared/store/archive/test_lines.py",
    "shared/store/test_walking.py",
    "shared/test_context.py",
    "shared/test_csv_text.py",
    "shared/test_device_keys.py",
    "shared/test_ids.py",
    "shared/test_releases.py",
    "shared/test_rollouts.py",
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
        if not any(cache in str(arguments) for cache in CACHES) and not _keeps_an_example():
            self.closed = False  # what tells of it may write
            raise Touched(f"a unit test may not do this ({event} {arguments!r}); move it to a module of the group io")


def _keeps_an_example() -> bool:
    """Whether hypothesis writes down what failed, by a temporary file."""
    frame = sys._getframe()
    while (frame := frame.f_back) is not None:  # type: ignore[assignment]
        if frame.f_globals.get("__name__") == "hypothesis.database":
            return True
    return False


class Touched(BaseException):
    """A unit test touched the world; nothing under test may catch it."""


def _writes(file: object, mode: object) -> bool:
    """A number is a file that is open already, which has passed here before."""
    return not isinstance(file, int) and isinstance(mode, str) and not set(mode).isdisjoint("wax+")


if __name__ == "__main__":
    print("\n".join(str(FOLDER.relative_to(Path.cwd()) / name) for name in UNIT))
