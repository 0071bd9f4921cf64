import threading
from collections.abc import Iterator

import pytest
import torch

from keysync.parallel import in_order


@pytest.fixture(params=[1, 2, 5])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def test_results_come_in_order_however_long_each_takes(threads: int) -> None:
    late = threading.Event()

    def work(number: int) -> int:
        if number == 0 and threads > 3:  # with two workers the second one overtakes
            late.wait(10)
        if number == 5:
            late.set()
        return number * number

    assert list(in_order(work, range(30))) == [number * number for number in range(30)]


def test_a_worker_has_one_thread_and_the_caller_gets_its_own_back(threads: int) -> None:
    seen = list(in_order(lambda _: torch.get_num_threads(), range(20)))
    assert set(seen) == {1}
    assert torch.get_num_threads() == threads
    inside = []
    thread = threading.Thread(target=lambda: inside.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    assert inside == [threads]


@pytest.mark.parametrize("lend", [True, False])
def test_the_caller_lends_threads_or_keeps_them_all(lend: bool, threads: int) -> None:
    while_waiting = {torch.get_num_threads() for _ in in_order(lambda number: number, range(3), lend=lend)}
    assert while_waiting == {threads - threads // 2 if lend else threads}


def test_what_goes_wrong_in_a_worker_reaches_the_caller(threads: int) -> None:
    def work(number: int) -> float:
        return 1 / (number - 3)

    taken = []
    with pytest.raises(ZeroDivisionError):
        taken.extend(in_order(work, range(10)))
    results = in_order(work, range(10))
    assert [next(results) for _ in range(3)] == [work(number) for number in range(3)]
    with pytest.raises(ZeroDivisionError):
        next(results)
    assert torch.get_num_threads() == threads


def test_items_are_not_taken_far_ahead_and_closing_stops(threads: int) -> None:
    taken, done = [], []

    def items() -> Iterator[int]:
        for number in range(100):
            taken.append(number)
            yield number

    results = in_order(done.append, items())
    for _ in range(10):
        next(results)
    assert len(taken) < 20
    results.close()  # type: ignore[attr-defined]
    assert len(done) <= len(taken) < 20
    assert torch.get_num_threads() == threads
