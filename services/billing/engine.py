"""What bills, made from the settings: the charger, and the worker with all that it needs."""

from __future__ import annotations

from dataclasses import dataclass

from services.billing.alarms import Alarms
from services.billing.charger import Charger
from services.billing.clock import BillingClock
from services.billing.dues import Dues
from services.billing.hints import Hints
from services.billing.hook_calls import Inbox
from services.billing.payments import Payments
from services.billing.reconciling import Reconciler
from services.billing.subscriptions import Policy
from services.billing.worker import BillingWorker, Means
from shared.bus.transport import Transport
from shared.clock import Clock
from shared.events.contracts import CONTRACTS
from shared.projections.database import Database
from shared.runtime import Part
from shared.streams import Streams


@dataclass(frozen=True, slots=True)
class Engine:
    """``charger`` and ``worker`` are None where nobody is billed."""

    payments: Payments
    clock: BillingClock
    inbox: Inbox
    charger: Charger | None = None
    worker: BillingWorker | None = None

    @property
    def parts(self) -> list[Part]:
        """What is started with the service."""
        return [] if self.worker is None else [self.worker]


def engine(
    payments: Payments, transport: Transport, streams: Streams, database: Database, policy: Policy, clock: Clock
) -> Engine:
    """``clock`` is the machine's; the database has been prepared."""
    billing_clock = BillingClock(streams, clock, is_live=payments.is_live)
    hints, alarms, provider = Hints(database, clock), Alarms(), payments.provider
    if provider is None:
        return Engine(payments, billing_clock, Inbox(payments, hints, lambda: None))
    charger = Charger(streams, provider, policy, billing_clock, holds=payments.is_live, on_record=alarms.recorded)
    dues = Dues(database, streams, policy, CONTRACTS.of_service("billing"))
    reconciler = Reconciler(streams, provider, policy, charger.settle, billing_clock, clock)
    means = Means(streams, policy, billing_clock, charger, dues, hints, reconciler, alarms)
    worker = BillingWorker(transport, means)
    return Engine(payments, billing_clock, Inbox(payments, hints, worker.wake), charger, worker)
