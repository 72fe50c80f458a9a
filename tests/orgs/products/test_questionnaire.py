from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.orgs.products import questionnaire
from services.orgs.products.products import (
    PRODUCTS,
    AnswerConfiguration,
    ChangeProduct,
    Product,
    RemoveProduct,
    StartManufacturing,
    decide,
    name_of,
)
from services.orgs.products.questionnaire import (
    QUESTIONS,
    configuration,
    json_schema,
    read,
    refuse_other_way,
    unanswered,
)
from shared.errors import NotFound, Refused
from shared.events.orgs import (
    ConfigurationAnswered,
    ManufacturingStarted,
    ProductChanged,
    ProductCreated,
    ProductRemoved,
)

CREATED = ProductCreated(1000, "a" * 24, "acme", "Lamp", "lamp", "Shines", "Photon", 6, "Consumer", "")
ALL: dict[str, Any] = {
    "overview": {"summary": "A lamp", "expected_units": 500},
    "working_with_particle": {"authentication": "simple_auth"},
    "customers": {"private_beta": False},
    "firmware": {"programming": "ota_on_setup"},
}
answers = st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=9), st.lists, max_leaves=3)


def after(*events: Any) -> Product:
    state = PRODUCTS.initial
    for event in (CREATED, *events):
        state = PRODUCTS.evolve(state, event)
    return state


def answered(given: Any, state: Product | None = None) -> Product:
    state = state or after()
    for event in decide(state, AnswerConfiguration(read(given))):
        state = PRODUCTS.evolve(state, event)
    return state


def refusal(act: Any) -> Refused:
    with pytest.raises(Refused) as refused:
        act()
    return refused.value


def test_there_are_four_sections_and_nothing_is_answered_at_first() -> None:  # PRD-2
    shown = configuration({})
    assert list(shown["configuration"]) == ["overview", "working_with_particle", "customers", "firmware"]
    assert shown["unanswered"] == [question.key for question in QUESTIONS]
    assert shown["complete"] is False
    assert shown["configuration"]["customers"] == {"private_beta": None}


def test_answers_are_merged_question_by_question_and_taken_back_by_null() -> None:  # PRD-2
    state = answered({"overview": {"summary": " A lamp "}}, answered({"overview": {"expected_units": 5}}))
    assert state.answers == {"overview.summary": "A lamp", "overview.expected_units": 5}
    assert answered({"overview": {"summary": None}}, state).answers == {"overview.expected_units": 5}


def test_what_is_answered_already_is_no_news() -> None:
    assert decide(answered(ALL), AnswerConfiguration(read(ALL))) == []
    assert decide(after(), AnswerConfiguration(read({}))) == []
    assert decide(after(), AnswerConfiguration(read({"firmware": {"programming": None}}))) == []


def test_two_members_who_answer_at_once_both_have_their_answers() -> None:
    one = decide(after(), AnswerConfiguration(read({"overview": {"summary": "A lamp"}})))
    other = decide(after(), AnswerConfiguration(read({"customers": {"private_beta": True}})))
    assert after(*one, *other).answers == {"overview.summary": "A lamp", "customers.private_beta": True}


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"unknown": {}}, "no section 'unknown'"),
        ({"overview": "text"}, "overview must be an object"),
        ({"overview": {"unknown": 1}}, "no question 'unknown'"),
        ({"overview": {"summary": ""}}, "overview.summary"),
        ({"overview": {"summary": "x" * 4_001}}, "overview.summary"),
        ({"overview": {"expected_units": 0}}, "overview.expected_units"),
        ({"overview": {"expected_units": True}}, "overview.expected_units"),
        ({"overview": {"expected_units": 1.5}}, "overview.expected_units"),
        ({"customers": {"private_beta": "yes"}}, "true or false"),
        ({"firmware": {"programming": "by hand"}}, "manufacturing_line or ota_on_setup"),
        ({"working_with_particle": {"authentication": 7}}, "simple_auth"),
    ],
)
def test_what_is_no_answer_is_refused_by_name(given: Any, told: str) -> None:
    found = refusal(lambda: read(given))
    assert found.code == "invalid_configuration"
    assert told in found.reason


def test_manufacturing_starts_once_all_is_answered_and_not_before() -> None:  # PRD-2
    state = answered({key: value for key, value in ALL.items() if key != "firmware"})
    found = refusal(lambda: decide(state, StartManufacturing()))
    assert found.code == "configuration_incomplete"
    assert found.detail == '{"unanswered": ["firmware.programming"]}'
    ready = answered(ALL)
    assert decide(ready, StartManufacturing()) == [ManufacturingStarted(1000, questionnaire.VERSION)]
    assert decide(PRODUCTS.evolve(ready, ManufacturingStarted(1000, 1)), StartManufacturing()) == []


@pytest.mark.parametrize(
    ("chosen", "way"),
    [("simple_auth", "simple"), ("two_legged_auth", "two_legged"), ("login_with_particle", "log_in_with_us")],
)
def test_customers_come_the_way_that_was_chosen_and_any_way_before(chosen: str, way: str) -> None:  # PRD-3
    given = {questionnaire.AUTHENTICATION: chosen}
    for other in ("simple", "two_legged", "log_in_with_us", "team"):
        refuse_other_way({}, other)
        if other in (way, "team"):
            refuse_other_way(given, other)
        else:
            assert refusal(lambda other=other: refuse_other_way(given, other)).code == "authentication_method"


def test_the_questions_are_a_json_schema_too() -> None:
    schema = json_schema()
    assert set(schema["properties"]) == set(questionnaire.SECTIONS)
    for question in QUESTIONS:
        assert schema["properties"][question.section]["properties"][question.name]["title"] == question.text


@given(st.dictionaries(st.sampled_from([*questionnaire.SECTIONS, "x"]), answers | st.dictionaries(st.text(), answers)))
def test_whatever_is_sent_is_read_or_refused(given: Any) -> None:
    try:
        found = read(given)
    except Refused as refused:
        code = refused.code
    else:
        code = "invalid_configuration"
        assert unanswered(found)
    assert code == "invalid_configuration"


def test_a_product_is_changed_and_what_is_not_named_stays() -> None:  # PRD-1
    changed = ProductChanged(1000, "Lantern", "Shines", "Consumer", "v2")
    assert decide(after(), ChangeProduct(name="Lantern", hardware_version="v2")) == [changed]
    assert decide(after(changed), ChangeProduct(name="Lantern")) == []
    assert name_of(after(changed)) == "Lantern"


def test_a_removed_product_is_gone() -> None:
    assert decide(after(), RemoveProduct()) == [ProductRemoved(1000, "a" * 24)]
    for command in (RemoveProduct(), ChangeProduct(name="x"), AnswerConfiguration({}), StartManufacturing()):
        with pytest.raises(NotFound):
            decide(after(ProductRemoved(1000, "a" * 24)), command)


def test_answers_are_kept_with_the_version_of_the_questions() -> None:
    (event,) = decide(after(), AnswerConfiguration({"customers.private_beta": True}))
    assert event == ConfigurationAnswered(1000, 1, '{"customers.private_beta":true}')
