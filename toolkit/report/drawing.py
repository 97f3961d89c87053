"""Work on one animal after another, or on several at once by processes, in the animals' order."""

from __future__ import annotations

import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from typing import TypeVar

from toolkit.errors import InputError

T = TypeVar("T")


def done_in_order(tasks: Iterable[Callable[[], T]], jobs: int) -> Iterator[T]:
    """Yield what each task returns, in their order.

    Parameters
    ----------
    tasks
        Taken as they are needed, one more than there are processes ahead. With several jobs they can be pickled.
    jobs
        Processes; 1 does them here.

    Raises
    ------
    InputError
        If a process is killed.
    """
    if jobs == 1:
        for task in tasks:
            yield task()
        return
    # Spawned, not forked: DuckDB and OpenBLAS have threads.
    pool = ProcessPoolExecutor(jobs, mp_context=get_context("spawn"), initializer=_leave_interrupts_alone)
    waiting: deque[Future[T]] = deque()
    try:
        for task in tasks:
            if len(waiting) > jobs:
                yield waiting.popleft().result()
            waiting.append(pool.submit(task))
        while waiting:
            yield waiting.popleft().result()
    except BrokenProcessPool as error:
        raise InputError(
            f"a process that drew pictures was killed, most likely for want of memory ({jobs} at once). Take fewer "
            "--jobs."
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _leave_interrupts_alone() -> None:
    # Ctrl-C reaches the whole process group; whoever started the processes ends them.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
