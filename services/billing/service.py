"""The ``billing`` service, a class of each of its parts: RPC methods, and reactions to what organizations do."""

from __future__ import annotations

from services.billing.card_calls import CardCalls
from services.billing.draft_calls import DraftCalls
from services.billing.hook_calls import HookCalls
from services.billing.mail.mail_reactions import MailReactions
from services.billing.plan_calls import PlanCalls
from services.billing.seat_reactions import SeatReactions
from services.billing.summary_calls import SummaryCalls


class BillingService(SummaryCalls, PlanCalls, CardCalls, DraftCalls, HookCalls, SeatReactions, MailReactions):
    """What organizations pay; in their first 30 days nothing (BIL-1)."""

    name = "billing"
