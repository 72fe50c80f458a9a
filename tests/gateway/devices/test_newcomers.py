from __future__ import annotations

from services.gateway.devices.newcomers import A_SECOND, AT_ONCE, PRODUCTS, Newcomers


def test_a_thousand_come_to_a_product_at_once_and_then_one_in_five_seconds() -> None:
    newcomers = Newcomers()
    assert sum(newcomers.take(1000, 0.0) for _ in range(2_000)) == AT_ONCE
    assert newcomers.take(1001, 0.0)
    assert sum(newcomers.take(1000, float(second)) for second in range(1, 101)) == 100 * A_SECOND


def test_no_more_products_are_remembered_than_a_thousand() -> None:
    newcomers = Newcomers()
    for product_id in range(PRODUCTS):
        newcomers.take(product_id, 0.0)
    for _ in range(10):
        newcomers.take(0, 0.0)
    newcomers.take(PRODUCTS, 5.0)
    assert len(newcomers) == 2  # the others are as good as new
    for product_id in range(5 * PRODUCTS):
        newcomers.take(product_id, 5.0)
        assert len(newcomers) <= PRODUCTS
