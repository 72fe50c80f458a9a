"""Joining and leaving over two streams, with crashes in between and two people at once (ORG-3 to ORG-5, ACC-4)."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from services.orgs.people import accounts
from services.orgs.people.account_commands import ChangeEmail, VerifyEmail
from services.orgs.people.accounts import ACCOUNTS
from services.orgs.people.forgetting import Forgetting
from services.orgs.teams import organizations
from services.orgs.teams.membership import Membership
from services.orgs.teams.organizations import FULL_ACCESS, INVITATION_LIFE, ORGANIZATIONS
from shared.errors import NotFound, Refused

ADA, BOB, EVE = "ada@example.com", "bob@example.com", "eve@example.com"


def membership(world: Any, command: str) -> Membership:
    return Membership(world.streams, world.context(command), world.store.now)


def forgetting(world: Any, command: str) -> Forgetting:
    return Forgetting(world.streams, world.context(command), world.store.now)


def team(world: Any, org_id: str) -> Any:
    return world.streams.load(ORGANIZATIONS, organizations.stream_of(org_id)).state


def account(world: Any, account_id: str) -> Any:
    return world.streams.load(ACCOUNTS, accounts.stream_of(account_id)).state


def invited(world: Any, org_id: str, email: str = BOB, command: str = "invite") -> str:
    membership(world, command).invite(org_id, email, "developer", account_id_of(world, ADA))
    return next(iter(team(world, org_id).pending))


def account_id_of(world: Any, email: str) -> str:
    return next(event.account_id for event in world.of_type("AccountCreated") if event.email == email)


@pytest.fixture
def org(world: Any) -> str:
    return world.organization(ADA)


@pytest.fixture
def bob(world: Any) -> str:
    return world.verified(BOB)


def refusal(act: Any) -> str:
    with pytest.raises(Refused) as refused:
        act()
    return refused.value.code


def test_whoever_accepts_is_a_member_and_belongs_to_the_organization(world: Any, org: str, bob: str) -> None:  # ORG-4
    invitation = invited(world, org)
    assert bob not in team(world, org).members  # no seat before it is accepted
    membership(world, "accept").accept(org, invitation, bob)
    assert team(world, org).members[bob] == "developer"
    assert account(world, bob).org_id == org
    before = len(world.store.events)
    membership(world, "again").accept(org, invitation, bob)
    assert len(world.store.events) == before


def test_somebody_is_invited_by_an_address_in_any_case(world: Any, org: str, bob: str) -> None:
    membership(world, "invite").invite(org, "BOB@Example.COM", "support", account_id_of(world, ADA))
    assert [event.email for event in world.of_type("MemberInvited")] == [BOB]


@pytest.mark.parametrize("email", ["nobody@example.com", "", "x" * 400, "b\u00f6b@example.com"])
def test_nobody_is_invited_who_has_no_account(world: Any, org: str, email: str) -> None:  # ORG-3
    assert refusal(lambda: membership(world, "invite").invite(org, email, "support", "a" * 24)) == "user_not_found"


def test_whoever_belongs_to_another_organization_is_not_invited(world: Any, org: str) -> None:  # ORG-3
    world.organization(EVE, "Other")
    assert refusal(lambda: invited(world, org, EVE)) == "already_in_organization"


def test_of_two_invitations_that_are_accepted_at_once_one_counts(world: Any, org: str, bob: str) -> None:  # ACC-4
    other = world.organization(EVE, "Other")
    first, second = invited(world, org), invited(world, other, command="invite too")
    world.others_go_first_at(1, lambda: membership(world, "accept other").accept(other, second, bob))
    assert refusal(lambda: membership(world, "accept").accept(org, first, bob)) == "already_in_organization"
    assert bob in team(world, other).members
    assert bob not in team(world, org).members
    assert account(world, bob).org_id == other


def test_an_invitation_is_not_for_whoever_only_signed_up_with_the_address(world: Any, org: str) -> None:
    squatter = world.account(BOB)
    invitation = invited(world, org)
    assert refusal(lambda: membership(world, "accept").accept(org, invitation, squatter)) == "email_not_verified"
    assert (team(world, org).members.get(squatter), account(world, squatter).org_id) == (None, None)


def test_an_invitation_is_not_for_another_address_that_the_account_has_since(world: Any, org: str, bob: str) -> None:
    invitation = invited(world, org)
    link = VerifyEmail("f" * 24, world.store.now)
    for command in (ChangeEmail(EVE, False, link.nonce, world.store.now), link):
        world.streams.handle(ACCOUNTS, accounts.stream_of(bob), command, world.context(type(command).__name__))
    assert account(world, bob).verified
    assert refusal(lambda: membership(world, "accept").accept(org, invitation, bob)) == "email_not_verified"


def test_an_invitation_that_is_withdrawn_in_the_moment_of_acceptance_binds_nobody(
    world: Any, org: str, bob: str
) -> None:
    invitation = invited(world, org)
    world.others_go_first_at(2, lambda: membership(world, "withdraw").remove(org, BOB, account_id_of(world, ADA)))
    with pytest.raises(NotFound):
        membership(world, "accept").accept(org, invitation, bob)
    assert bob not in team(world, org).members
    assert account(world, bob).org_id is None


def test_what_a_crash_leaves_of_joining_is_finished(world: Any, died: Any, org: str, bob: str) -> None:
    invitation = invited(world, org)
    world.dies_at(1, after=True)
    with pytest.raises(died):
        membership(world, "accept").accept(org, invitation, bob)
    world.dies_at(None, after=False)
    (joined,) = world.of_type("OrganizationJoined")
    membership(world, "reaction").finish_joining(joined)
    assert bob in team(world, org).members


def test_what_a_crash_leaves_of_leaving_is_finished(world: Any, died: Any, org: str, bob: str) -> None:
    membership(world, "accept").accept(org, invited(world, org), bob)
    world.dies_at(1, after=True)
    with pytest.raises(died):
        membership(world, "remove").remove(org, BOB, account_id_of(world, ADA))
    world.dies_at(None, after=False)
    assert account(world, bob).org_id == org
    membership(world, "reaction").finish_leaving(org, bob, "removed")
    assert account(world, bob).org_id is None


def test_a_late_reaction_does_not_put_out_who_has_joined_again(world: Any, org: str, bob: str) -> None:
    membership(world, "accept").accept(org, invited(world, org), bob)
    membership(world, "remove").remove(org, BOB, account_id_of(world, ADA))
    membership(world, "accept again").accept(org, invited(world, org, command="invite again"), bob)
    membership(world, "late").finish_leaving(org, bob, "removed")
    assert account(world, bob).org_id == org


def test_a_reaction_that_has_looked_does_not_put_out_who_joins_before_it_acts(world: Any, org: str, bob: str) -> None:
    membership(world, "accept").accept(org, invited(world, org), bob)
    membership(world, "remove").remove(org, BOB, account_id_of(world, ADA))

    def joins_again() -> None:
        invitation = invited(world, org, command="invite again")
        membership(world, "accept again").accept(org, invitation, bob)

    world.others_go_first_at_read(3, joins_again)  # the account, the team, the account once more
    membership(world, "late").finish_leaving(org, bob, "removed")
    assert bob in team(world, org).members
    assert account(world, bob).org_id == org


def test_an_invitation_that_was_declined_lets_nobody_in_who_joined_by_another(world: Any, org: str, bob: str) -> None:
    declined = invited(world, org)
    membership(world, "decline").decline(org, declined, bob)
    membership(world, "accept").accept(org, invited(world, org, command="invite again"), bob)
    assert refusal(lambda: membership(world, "accept old").accept(org, declined, bob)) == "already_answered"
    assert account(world, bob).org_id == org


def test_the_seat_of_whom_the_operator_forgets_is_free_unless_it_is_the_last(world: Any, org: str, bob: str) -> None:
    membership(world, "accept").accept(org, invited(world, org), bob)
    ada = account_id_of(world, ADA)
    for number, account_id in enumerate((bob, ada)):
        forgetting(world, f"forget {number}").account(account_id)
        membership(world, f"part {number}").part(account_id, [])
        membership(world, f"late {number}").finish_leaving(org, account_id, "removed")
    assert list(team(world, org).members) == [ada]  # ORG-5
    assert account(world, bob).org_id is None
    assert account(world, ada).org_id == org


def test_who_is_forgotten_is_invited_no_longer(world: Any, org: str, bob: str) -> None:
    invited(world, org)
    forgetting(world, "forget").account(bob)
    membership(world, "part").part(bob, [org])
    assert not team(world, org).pending


def test_two_members_who_remove_each_other_at_once_leave_one(world: Any, org: str, bob: str) -> None:  # ORG-5
    ada = account_id_of(world, ADA)
    membership(world, "invite").invite(org, BOB, "administrator", ada)
    membership(world, "accept").accept(org, next(iter(team(world, org).pending)), bob)
    world.others_go_first_at(1, lambda: membership(world, "remove ada").remove(org, ADA, bob))
    assert refusal(lambda: membership(world, "remove bob").remove(org, BOB, ada)) == "last_member"
    assert list(team(world, org).members) == [bob]


def test_nobody_is_removed_who_is_not_there(world: Any, org: str, bob: str) -> None:
    for email in (BOB, "nobody@example.com", ""):
        with pytest.raises(NotFound):
            membership(world, "remove").remove(org, email, account_id_of(world, ADA))


class Teams:
    """Two organizations and three people of whom one is in neither at first."""

    def __init__(self, world: Any, died: type[BaseException]) -> None:
        self.world, self.died, self.count = world, died, 0
        self.orgs = [world.organization(f"founder{n}@example.com", f"Org {n}") for n in (0, 1)]
        self.people = {email: world.verified(email) for email in (BOB, "founder0@example.com", "founder1@example.com")}

    def play(self, step: Step) -> None:
        """One thing alone, two at once, or one whose process dies before the other begins."""
        first, second = (partial(getattr(self, act), self.orgs[org], step.who) for act, org in step.acts)
        if step.how == "append":
            self.world.others_go_first_at(step.at, lambda: do(second))
        elif step.how == "read":
            self.world.others_go_first_at_read(step.at, lambda: do(second))
        elif step.how == "death":
            self.world.dies_at(1, after=bool(step.at % 2))
        with suppress(self.died):
            do(first)
        self.world.nobody_else_goes_first()
        if step.how == "death":
            self.world.dies_at(None, after=False)
            do(second)
            self.react("", step.who)

    def joins(self, org_id: str, who: str) -> None:
        self.membership().accept(org_id, self.invited(org_id, who), self.people[who])

    def declines(self, org_id: str, who: str) -> None:
        self.membership().decline(org_id, self.invited(org_id, who), self.people[who])

    def invited(self, org_id: str, who: str) -> str:
        if self._invitation(org_id, who) is None:
            do(lambda: self.membership().invite(org_id, who, "administrator", self.others(org_id, who)))
        return self._invitation(org_id, who) or ""

    def is_let_go(self, org_id: str, who: str) -> None:
        self.membership().remove(org_id, who, self.others(org_id, who))

    def may_do_less(self, org_id: str, who: str) -> None:
        self.membership().change_role(org_id, who, "readonly", self.others(org_id, who))

    def lapses(self, org_id: str, who: str) -> None:
        self.world.pass_time(INVITATION_LIFE.total_seconds())

    def react(self, org_id: str, who: str) -> None:
        """Late reactions, to all there ever was."""
        for removed in self.world.of_type("MemberRemoved"):
            self.membership().finish_leaving(removed.org_id, removed.account_id, "removed")
        for joined in self.world.of_type("OrganizationJoined"):
            self.membership().finish_joining(joined)

    def membership(self) -> Membership:
        self.count += 1
        return membership(self.world, f"step {self.count}")

    def others(self, org_id: str, who: str) -> str:
        """Somebody else of the team, if there is anybody."""
        return min(team(self.world, org_id).members, key=lambda one: one == self.people[who])

    def _invitation(self, org_id: str, who: str) -> str | None:
        found: str | None = team(self.world, org_id).invited(self.people[who], self.world.store.now)
        return found

    def check(self) -> None:
        """Everybody belongs to one organization at most, and knows it; each has somebody who may do everything."""
        members = [team(self.world, org_id).members for org_id in self.orgs]
        assert not set(members[0]) & set(members[1])
        assert all(FULL_ACCESS & set(one.values()) for one in members)
        for account_id in self.people.values():
            mine = [org_id for org_id, there in zip(self.orgs, members, strict=True) if account_id in there]
            assert account(self.world, account_id).org_id == (mine[0] if mine else None)


@dataclass(frozen=True)
class Step:
    """What happens to this person, and what else at that append or read of it. An act: its name, in which
    organization."""

    how: str
    at: int
    who: str
    acts: tuple[tuple[str, int], tuple[str, int]]


def do(act: Any) -> None:
    with suppress(Refused, NotFound):
        act()


ACTS = (*("joins", "is_let_go", "react") * 3, "invited", "declines", "may_do_less", "lapses")
ACT = st.tuples(st.sampled_from(ACTS), st.sampled_from([0, 0, 1]))
STEPS = st.builds(
    Step,
    how=st.sampled_from(["alone", "append", "read", "death"]),
    at=st.integers(1, 3),
    who=st.sampled_from([BOB, BOB, BOB, "founder0@example.com", "founder1@example.com"]),
    acts=st.tuples(ACT, ACT),
)
BEEN_THERE = [Step("alone", 1, BOB, ((act, 0), (act, 0))) for act in ("joins", "is_let_go")]


@settings(max_examples=250)
@given(st.lists(STEPS, min_size=6, max_size=14))
@example([*BEEN_THERE, Step("read", 3, BOB, (("react", 0), ("joins", 0)))])
@example([*BEEN_THERE, Step("append", 3, BOB, (("joins", 0), ("react", 0)))])
def test_whatever_people_do_nobody_is_in_two_organizations_and_none_is_without_full_access(
    new_world: Any, died: Any, steps: list[Step]
) -> None:
    teams = Teams(new_world(), died)
    for step in steps:
        teams.play(step)
        teams.check()
