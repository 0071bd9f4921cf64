"""Several items in work at once, the results in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import torch

T = TypeVar("T")
R = TypeVar("R")

_MOST = 4  # workers; a film is not read any faster
_WAITING = 8  # items begun and not yet taken: enough to do while a network works on the next few


def in_order(work: Callable[[T], R], items: Iterable[T], *, lend: bool = True) -> Iterator[R]:
    """``map(work, items)``, done by workers while the caller does something else with what it was given.

    A network shares a small picture out among threads badly; whole pictures it shares out well. Each worker
    runs PyTorch on one thread. With one thread there is nothing to share: then this is ``map``.

    Args:
        work: of one item; several run at once.
        items: taken in the caller's thread, up to 8 ahead.
        lend: the caller goes without the workers' half of PyTorch's threads, and has them back when the last
            result is taken, or when the iterator is closed. Else it keeps them all, which pays where it has
            far more to do than they.
    """
    threads = torch.get_num_threads()
    workers = min(threads // 2, _MOST)
    if not workers:
        yield from map(work, items)
        return
    pool = ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,))
    torch.set_num_threads(threads - workers if lend else threads)
    begun: deque[Future[R]] = deque()
    try:
        for item in items:
            begun.append(pool.submit(work, item))
            if len(begun) == _WAITING:
                yield begun.popleft().result()
        while begun:
            yield begun.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(threads)
