import threading

from shared.turns import HEAVY_ITEMS, turn

WAIT_S = 10.0


def test_heavy_stretches_take_turns_and_light_ones_do_not_wait() -> None:
    order: list[str] = []
    inside, leave = threading.Event(), threading.Event()

    def first() -> None:
        with turn(HEAVY_ITEMS):
            inside.set()
            leave.wait(WAIT_S)
            order.append("first")

    def second() -> None:
        with turn(HEAVY_ITEMS):
            order.append("second")

    threads = [threading.Thread(target=first), threading.Thread(target=second)]
    threads[0].start()
    assert inside.wait(WAIT_S)
    threads[1].start()
    with turn(HEAVY_ITEMS - 1):
        order.append("light")
    leave.set()
    for thread in threads:
        thread.join(WAIT_S)
    assert order == ["light", "first", "second"]


def test_a_turn_is_given_back_after_an_error() -> None:
    try:
        with turn(HEAVY_ITEMS):
            raise RuntimeError("broken")
    except RuntimeError:
        done = threading.Event()

        def next_one() -> None:
            with turn(HEAVY_ITEMS):
                done.set()

        threading.Thread(target=next_one).start()
        assert done.wait(WAIT_S)
