from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.devices import groups as groups_module
from services.devices.device import (
    MAX_GROUPS,
    ChangeMember,
    Device,
    RegroupDevice,
)
from services.devices.device import decide as decide_device
from services.devices.groups import (
    ChangeGroup,
    CreateGroup,
    DeleteGroup,
    EnsureGroups,
    FreeName,
    Groups,
    decide,
    evolve,
)
from shared.errors import FlotillaError, NotFound, Refused
from shared.events.devices import DeviceGrouped
from shared.events.groups import GroupCreated, GroupDeleted, GroupDescribed, GroupEmptied, GroupRenamed

P, ID = 1000, "0" * 24


def after(*events: Any) -> Groups:
    state = Groups()
    for event in events:
        state = evolve(state, event)
    return state


def code(state: Groups, command: Any) -> str:
    with pytest.raises(Refused) as refusal:
        decide(state, command)
    return refusal.value.code


LAB = GroupCreated(P, "lab", "indoors", "#f00")


def test_a_group_is_made_once() -> None:
    assert decide(Groups(), CreateGroup(P, "lab", "indoors", "#f00")) == [LAB]
    assert code(after(LAB), CreateGroup(P, "lab", "", "")) == "name_taken"


def test_groups_that_devices_are_put_into_are_made_unless_they_exist() -> None:
    made = decide(after(LAB), EnsureGroups(P, frozenset({"lab", "hall", "attic"})))
    assert made == [GroupCreated(P, "attic", "", ""), GroupCreated(P, "hall", "", "")]


def test_what_is_not_named_stays_as_it_is() -> None:
    assert decide(after(LAB), ChangeGroup(P, "lab", color="")) == [GroupDescribed(P, "lab", "indoors", "")]
    assert decide(after(LAB), ChangeGroup(P, "lab", "lab", "indoors")) == []


def test_under_another_name_it_is_what_it_was() -> None:
    events = decide(after(LAB), ChangeGroup(P, "lab", "hall"))
    assert events == [GroupCreated(P, "hall", "indoors", "#f00"), GroupRenamed(P, "lab", "hall")]
    assert after(LAB, *events) == Groups({"hall": ("indoors", "#f00")}, {"lab": "hall"})
    assert code(after(LAB, GroupCreated(P, "hall", "", "")), ChangeGroup(P, "lab", "hall")) == "name_taken"


def test_a_name_is_taken_until_no_device_is_in_it() -> None:
    leaving = after(LAB, GroupDeleted(P, "lab"))
    for command in (CreateGroup(P, "lab", "", ""), EnsureGroups(P, frozenset({"lab"}))):
        assert code(leaving, command) == "group_leaving"
    assert decide(leaving, EnsureGroups(P, frozenset({"lab"}), leaving=True)) == []
    assert decide(leaving, FreeName(P, "lab")) == [GroupEmptied(P, "lab")]
    free = evolve(leaving, GroupEmptied(P, "lab"))
    assert decide(free, FreeName(P, "lab")) == []
    assert decide(free, CreateGroup(P, "lab", "", "")) == [GroupCreated(P, "lab", "", "")]


@pytest.mark.parametrize("command", [ChangeGroup(P, "lab"), DeleteGroup(P, "lab")])
@pytest.mark.parametrize("state", [Groups(), after(LAB, GroupDeleted(P, "lab"))])
def test_what_does_not_exist_is_not_found(state: Groups, command: Any) -> None:
    with pytest.raises(NotFound):
        decide(state, command)


def test_a_product_has_so_many_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(groups_module, "MOST_GROUPS", 2)
    full = after(LAB, GroupCreated(P, "hall", "", ""))
    assert code(full, CreateGroup(P, "attic", "", "")) == "too_many_groups"
    assert code(after(LAB), EnsureGroups(P, frozenset({"hall", "attic"}))) == "too_many_groups"
    assert decide(full, EnsureGroups(P, frozenset({"lab"}))) == []


NAMES = st.sampled_from(["a", "b", "c"])
TEXTS = st.none() | st.sampled_from(["", "x"])
COMMANDS = st.one_of(
    st.builds(CreateGroup, st.just(P), NAMES, st.just(""), st.just("")),
    st.builds(EnsureGroups, st.just(P), st.frozensets(NAMES), st.booleans()),
    st.builds(ChangeGroup, st.just(P), NAMES, st.none() | NAMES, TEXTS, TEXTS),
    st.builds(DeleteGroup, st.just(P), NAMES),
    st.builds(FreeName, st.just(P), NAMES),
)


@given(st.lists(COMMANDS, max_size=12))
def test_a_name_is_never_both_a_groups_and_one_that_devices_are_leaving(commands: list[Any]) -> None:
    state = Groups()
    for command in commands:
        try:
            events = decide(state, command)
        except FlotillaError:
            continue
        for event in events:
            state = evolve(state, event)
        assert not state.present.keys() & state.left.keys()
        if isinstance(command, EnsureGroups):
            assert command.names <= state.present.keys() | state.left.keys()


@given(
    st.frozensets(NAMES),
    st.frozensets(NAMES),
    st.frozensets(NAMES),
    st.none() | NAMES,
)
def test_a_device_is_regrouped_once(
    groups: frozenset[str], add: frozenset[str], remove: frozenset[str], only_from: str | None
) -> None:
    command = ChangeMember(ID, P, (RegroupDevice(add, remove, only_from),))
    wanted = groups if only_from is not None and only_from not in groups else (groups | add) - remove
    events = decide_device(Device(product_id=P, groups=groups), command)
    assert events == ([] if wanted == groups else [DeviceGrouped(ID, P, sorted(wanted))])
    assert decide_device(Device(product_id=P, groups=(groups | add) - remove), command) == []


def test_a_device_is_in_so_many_groups() -> None:
    full = Device(product_id=P, groups=frozenset(f"g{number}" for number in range(MAX_GROUPS)))
    with pytest.raises(Refused):
        decide_device(full, ChangeMember(ID, P, (RegroupDevice(frozenset({"one-more"})),)))
