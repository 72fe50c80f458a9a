from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.orgs.products.numbering import NewProduct
from shared.errors import NotFound, Refused
from shared.ids import FIRST_PRODUCT_ID, LAST_PRODUCT_ID


def lamp(org_id: str, name: str = "Lamp") -> NewProduct:
    return NewProduct(org_id, name, "Shines", "Photon", "Consumer", "")


def nothing_seen() -> None:
    """A view without products, or one that lags behind all of them."""


def names_of(world) -> list[tuple[int, str, str]]:
    return [(event.product_id, event.name, event.slug) for event in world.of_type("ProductCreated")]


def test_numbers_go_up_from_the_first_and_follow_the_highest(world) -> None:  # PRD-1
    org_id = world.organization()
    assert world.numbering("a").create(lamp(org_id, "A"), nothing_seen) == FIRST_PRODUCT_ID
    assert world.numbering("b").create(lamp(org_id, "B"), lambda: 1_000) == 1_001
    assert world.numbering("c").create(lamp(org_id, "C"), lambda: 2_000) == 2_001


def test_a_number_that_the_view_has_not_seen_yet_is_not_given_again(world) -> None:  # PRD-1
    org_id = world.organization()
    numbers = [world.numbering(name).create(lamp(org_id, name), nothing_seen) for name in "ABC"]
    assert numbers == [1_000, 1_001, 1_002]
    assert names_of(world) == [(1_000, "A", "a"), (1_001, "B", "b"), (1_002, "C", "c")]


def test_numbers_run_out_with_a_clear_refusal(world) -> None:
    org_id = world.organization()
    assert world.numbering("last").create(lamp(org_id, "Last"), lambda: LAST_PRODUCT_ID - 1) == LAST_PRODUCT_ID
    for highest in (LAST_PRODUCT_ID, LAST_PRODUCT_ID - 1):
        with pytest.raises(Refused) as refusal:
            world.numbering(f"behind {highest}").create(lamp(org_id, f"Behind {highest}"), lambda: highest)  # noqa: B023
        assert refusal.value.code == "no_product_number_left"


def test_a_name_exists_once_in_an_organization_whatever_its_case(world) -> None:
    org_id, other = world.organization(), world.organization("grace@example.com", "Other")
    world.numbering("one").create(lamp(org_id, "Lamp"), nothing_seen)
    with pytest.raises(Refused) as refusal:
        world.numbering("two").create(lamp(org_id, "LAMP"), nothing_seen)
    assert refusal.value.code == "name_taken"
    world.numbering("three").create(lamp(other, "LAMP"), nothing_seen)
    assert names_of(world) == [(1_000, "Lamp", "lamp"), (1_001, "LAMP", "lamp-2")]


def test_names_that_give_the_same_slug_are_told_apart(world) -> None:
    org_id = world.organization()
    for name in ("Smart Lamp", "Smart-Lamp", "smart lamp!"):
        world.numbering(name).create(lamp(org_id, name), nothing_seen)
    assert [slug for _, _, slug in names_of(world)] == ["smart-lamp", "smart-lamp-2", "smart-lamp-3"]


@given(st.lists(st.tuples(st.integers(1, 3), st.booleans()), max_size=4), st.sampled_from([1, 40, 100]), st.data())
def test_creating_with_crashes_while_others_create_makes_one_product(new_world, died, crashes, pause_s, data) -> None:
    world = new_world()
    org_id = world.organization()

    def create() -> int:
        return world.numbering("create").create(lamp(org_id), nothing_seen)

    for number, (at, after) in enumerate(crashes):
        world.dies_at(at, after=after)
        try:
            create()
        except died:
            world.pass_time(pause_s)
        world.dies_at(None, after=False)
        if data.draw(st.booleans()):
            world.numbering(f"other {number}").create(lamp(org_id, f"Other {number}"), nothing_seen)
    made = create()
    assert create() == made
    assert [number for number, name, _ in names_of(world) if name == "Lamp"] == [made]
    numbers = [number for number, _, _ in names_of(world)]
    slugs = [slug for _, _, slug in names_of(world)]
    assert len(set(numbers)) == len(numbers)
    assert len(set(slugs)) == len(slugs)


@given(st.integers(1, 3), st.booleans())
def test_two_products_created_at_the_same_time_share_nothing(new_world, at, same_slug) -> None:
    world = new_world()
    org_id = world.organization()
    quick = lamp(org_id, "Lamp!" if same_slug else "Torch")
    world.others_go_first_at(at, lambda: world.numbering("quick").create(quick, nothing_seen))
    slow = world.numbering("slow").create(lamp(org_id), nothing_seen)
    products = {number: slug for number, _, slug in names_of(world)}
    assert len(products) == 2
    assert len(set(products.values())) == 2
    assert world.numbering("slow").create(lamp(org_id), nothing_seen) == slow
    assert len(names_of(world)) == 2


@given(st.integers(1, 3))
def test_of_two_who_want_one_name_at_the_same_time_one_gets_it(new_world, at) -> None:
    world = new_world()
    org_id = world.organization()
    outcomes: list[str] = []

    def create(command: str) -> None:
        try:
            world.numbering(command).create(lamp(org_id), nothing_seen)
        except Refused as refusal:
            outcomes.append(refusal.code)

    world.others_go_first_at(at, lambda: create("quick"))
    create("slow")
    assert outcomes == ["name_taken"]
    assert [name for _, name, _ in names_of(world)] == ["Lamp"]


@given(st.integers(1, 3), st.integers(0, 3))
def test_one_command_that_runs_twice_at_the_same_time_makes_one_product(new_world, at, seen) -> None:
    world = new_world()
    org_id = world.organization()
    for number in range(seen):
        world.numbering(f"other {number}").create(lamp(org_id, f"Other {number}"), nothing_seen)
    again: list[int] = []
    world.others_go_first_at(
        at, lambda: again.append(world.numbering("create").create(lamp(org_id), lambda: 999 + seen))
    )
    first = world.numbering("create").create(lamp(org_id), nothing_seen)
    assert [number for number, name, _ in names_of(world) if name == "Lamp"] == [first] == again


def test_an_organization_that_does_not_exist_has_no_products(world) -> None:
    with pytest.raises(NotFound):
        world.numbering("create").create(lamp("f" * 24), nothing_seen)
