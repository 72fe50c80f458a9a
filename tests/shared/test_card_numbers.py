import pytest

from shared.card_numbers import holds_card_number


@pytest.mark.parametrize(
    ("body", "holds"),
    [
        (b'{"setup_id": "seti_1"}', False),
        (b"4242424242424242", True),
        (b'{"card": "4242 4242 4242 4242"}', True),
        (b"number=4242-4242-4242-4242&x=1", True),
        (b"4242424242424241", False),
        (b"4222222222222", True),
        (b"6304000000000000000", True),
        (b"0123456789abcdef01234567", False),
        (b"42424242424242424242424242", False),
        (b"378282246310005", True),
        (b"12 4242424242424242", True),
        (b"4242 4242 4242 4242 12 30 123", True),
        (b"2026-11-27 12:00:00", False),
        (b'{"exp": 12, "n": 4242424242424242}', True),
        (b"4242  4242  4242  4242", False),
    ],
)
def test_a_card_number_is_found(body: bytes, holds: bool) -> None:  # BIL-6
    assert holds_card_number(body) is holds
