"""Threads that wait for providers: refunds first, and withdrawn requests never begin."""

import threading

from refundcli.services.bulk.request_pool import Errand, Senders


def job(sent: list[str], name: str) -> Errand:
    return Errand(lambda: sent.append(name), lambda finished: None, name)


def test_withdrawn_jobs_are_never_sent() -> None:
    pool, sent, taken_up, busy = Senders(1), list[str](), threading.Event(), threading.Event()

    def hold() -> None:
        taken_up.set()
        busy.wait(10)

    blocking = Errand(hold, lambda finished: None)
    pool.send(blocking, urgent=False)
    taken_up.wait(10)
    waiting = job(sent, "refund")
    pool.send(waiting, urgent=True)
    pool.send(job(sent, "preflight"), urgent=False)
    assert (pool.take_back(), pool.outstanding) == ([waiting], 1)
    busy.set()
    pool.wait(10)
    assert (pool.come_back(), pool.come_back()) == (blocking, None)
    assert (sent, pool.outstanding) == ([], 0)
    pool.close()


def test_refunds_go_before_anything_else() -> None:
    pool, sent, busy = Senders(1), list[str](), threading.Event()
    pool.send(Errand(lambda: busy.wait(10), lambda finished: None), urgent=True)
    pool.send(job(sent, "preflight"), urgent=False)
    pool.send(job(sent, "refund"), urgent=True)
    busy.set()
    while pool.outstanding:
        pool.wait(10)
        pool.come_back()
    assert sent == ["refund", "preflight"]
    pool.close()
