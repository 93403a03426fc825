"""Threads that wait for providers: refunds before anything else, and nothing begun that was taken back."""

import threading

from refundcli.services.bulk.worker.request_pool import Job, RequestPool


def errand(asked: list[str], name: str) -> Job:
    return Job(lambda: asked.append(name), lambda errand: None, name)


def test_what_nobody_has_taken_up_is_taken_back_and_never_asked() -> None:
    pool, asked, taken_up, busy = RequestPool(1), list[str](), threading.Event(), threading.Event()

    def hold() -> None:
        taken_up.set()
        busy.wait(10)

    held = Job(hold, lambda errand: None)
    pool.send(held, urgent=False)
    taken_up.wait(10)
    waiting = errand(asked, "refund")
    pool.send(waiting, urgent=True)
    pool.send(errand(asked, "preflight"), urgent=False)
    assert (pool.cancel_queued(), pool.outstanding) == ([waiting], 1)
    busy.set()
    pool.wait(10)
    assert (pool.next_finished(), pool.next_finished()) == (held, None)
    assert (asked, pool.outstanding) == ([], 0)
    pool.close()


def test_refunds_go_before_anything_else() -> None:
    pool, asked, busy = RequestPool(1), list[str](), threading.Event()
    pool.send(Job(lambda: busy.wait(10), lambda errand: None), urgent=True)
    pool.send(errand(asked, "preflight"), urgent=False)
    pool.send(errand(asked, "refund"), urgent=True)
    busy.set()
    while pool.outstanding:
        pool.wait(10)
        pool.next_finished()
    assert asked == ["refund", "preflight"]
    pool.close()
