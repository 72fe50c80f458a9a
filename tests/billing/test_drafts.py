"""An organization that is about to be created: given what happened, when asked, then what happens."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from services.billing.drafts import (
    GRACE,
    LIFE,
    BeginDraft,
    Command,
    Draft,
    ExpireDraft,
    SaveDraftCard,
    UseDraft,
    decide,
    evolve,
    must_be_open,
)
from shared.errors import Refused
from shared.events import drafts as d
from tests.billing.timelines import card

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
DRAFT, ADA, EVE = "d" * 24, "a" * 24, "e" * 24
BEGUN = d.OrganizationDrafted(DRAFT, ADA, "cus_1", "seti_1", NOW + LIFE)
SAVED = d.DraftCardSaved(DRAFT, card("ok"))
USED = d.DraftUsed(DRAFT)
EXPIRED = d.DraftExpired(DRAFT, "cus_1")


def after(*events: d.OrganizationDrafted | d.DraftCardSaved | d.DraftUsed | d.DraftExpired) -> Draft:
    state = Draft()
    for event in events:
        state = evolve(state, event)
    return state


def test_a_draft_is_good_for_24_hours() -> None:
    assert decide(Draft(), BeginDraft(DRAFT, ADA, "cus_1", "seti_1", NOW)) == [BEGUN]
    must_be_open(after(BEGUN), ADA, NOW + LIFE - timedelta(seconds=1))
    with pytest.raises(Refused) as refused:
        must_be_open(after(BEGUN), ADA, NOW + LIFE)
    assert refused.value.code == "card_required"


@pytest.mark.parametrize(
    ("state", "account_id"),
    [(Draft(), ADA), (after(BEGUN), EVE), (after(BEGUN, EXPIRED), ADA), (after(BEGUN, SAVED, USED), EVE)],
)
def test_a_card_is_saved_with_a_draft_of_ones_own_that_has_not_lapsed(state: Draft, account_id: str) -> None:
    with pytest.raises(Refused) as refused:
        decide(state, SaveDraftCard(account_id, card("ok"), NOW))
    assert refused.value.code == "card_required"


def test_another_card_may_take_the_place_of_the_first_until_the_draft_is_used() -> None:
    other = card("ok", 2)
    assert decide(after(BEGUN), SaveDraftCard(ADA, card("ok"), NOW)) == [SAVED]
    assert decide(after(BEGUN, SAVED), SaveDraftCard(ADA, other, NOW)) == [d.DraftCardSaved(DRAFT, other)]
    assert decide(after(BEGUN, SAVED, USED), SaveDraftCard(ADA, other, NOW + 2 * LIFE)) == []


@pytest.mark.parametrize(
    ("command", "state"),
    [
        (BeginDraft(DRAFT, ADA, "cus_2", "seti_2", NOW), after(BEGUN)),
        (SaveDraftCard(ADA, card("ok"), NOW), after(BEGUN, SAVED)),
        (UseDraft(), after(BEGUN, SAVED, USED)),
        (ExpireDraft(NOW + 9 * LIFE), after(BEGUN, EXPIRED)),
    ],
)
def test_what_is_true_already_changes_nothing(command: Command, state: Draft) -> None:
    assert decide(state, command) == []


@pytest.mark.parametrize("state", [Draft(), after(BEGUN), after(BEGUN, SAVED, EXPIRED)])
def test_only_a_draft_with_a_card_that_has_not_lapsed_is_used(state: Draft) -> None:
    assert decide(state, UseDraft()) == []
    assert decide(after(BEGUN, SAVED), UseDraft()) == [USED]


def test_a_draft_that_is_used_never_lapses() -> None:
    assert decide(after(BEGUN, SAVED, USED), ExpireDraft(NOW + 1_000 * LIFE)) == []


def test_a_draft_with_a_card_waits_a_day_longer_for_an_organization_created_at_its_last_moment() -> None:
    for state, lapses_at in ((after(BEGUN), NOW + LIFE), (after(BEGUN, SAVED), NOW + LIFE + GRACE)):
        assert decide(state, ExpireDraft(lapses_at - timedelta(seconds=1))) == []
        assert decide(state, ExpireDraft(lapses_at)) == [EXPIRED]
