"""What became of an attempt to charge. Pure. Rules GW-1, GW-2, GW-4, GW-8."""

from __future__ import annotations

from datetime import timedelta
from typing import assert_never

from services.billing.commands import Record, RecordDeclined, RecordPaid, RecordPostponed, RecordPrepared
from services.billing.cycle import in_seconds
from services.billing.invoicing import Run, come_back, fail, not_before
from shared.events.billing import (
    ChargePostponed,
    ChargePrepared,
    PaymentSucceeded,
)


def record(run: Run, command: Record) -> None:
    """What became of the attempt in flight; nothing for one whose fate is known."""
    state = run.state
    charge, invoice = state.charge, state.invoice
    if charge is None or invoice is None or (command.number, command.attempt) != (invoice.number, charge.attempt):
        return
    at = not_before(state, in_seconds(command.at))
    match command:
        case RecordPrepared(number, attempt, provider_ref):
            if charge.provider_ref is None:  # the first that was recorded is the one that is executed
                run.tell(ChargePrepared(state.org_id, at, number, attempt, provider_ref))
        case RecordPostponed(number, attempt, cause):
            pauses = run.policy.provider_retry_minutes
            pause = timedelta(minutes=pauses[min(charge.tries, len(pauses) - 1)])
            run.tell(ChargePostponed(state.org_id, at, number, attempt, cause, at + pause))
        case RecordPaid(number, attempt, provider_ref):
            run.tell(PaymentSucceeded(state.org_id, at, number, attempt, provider_ref, invoice.total_cents))
            if invoice.is_reactivation:
                come_back(run, at, charge.card)
        case RecordDeclined():
            fail(run, command, submitted=True)
        case _:
            assert_never(command)
