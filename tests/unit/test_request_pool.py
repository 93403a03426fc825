"""Threads that wait for providers: refunds before anything else, and nothing begun that was cancelled."""

import threading

from refundcli.services.bulk.worker.request_pool import RequestPool


def test_a_request_that_no_thread_has_started_is_cancelled_and_never_sent() -> None:
    pool, asked, started, busy = RequestPool(1), list[str](), threading.Event(), threading.Event()

    def hold() -> str:
        started.set()
        busy.wait(10)
        return "held"

    held = pool.submit(hold, urgent=False)
    started.wait(10)
    waiting = pool.submit(lambda: asked.append("refund"), urgent=True)
    assert (waiting.cancel(), held.cancel()) == (True, False)
    busy.set()
    assert held.result(10) == "held"
    pool.submit(lambda: None, urgent=False).result(10)
    assert asked == []
    pool.close()


def test_refunds_go_before_anything_else() -> None:
    pool, asked, busy = RequestPool(1), list[str](), threading.Event()
    pool.submit(lambda: busy.wait(10), urgent=True)
    preflight = pool.submit(lambda: asked.append("preflight"), urgent=False)
    pool.submit(lambda: asked.append("refund"), urgent=True)
    busy.set()
    preflight.result(10)
    assert asked == ["refund", "preflight"]
    pool.close()


def test_a_closed_pool_sends_what_is_urgent_and_no_more() -> None:
    pool, asked, started, busy = RequestPool(1), list[str](), threading.Event(), threading.Event()

    def hold() -> None:
        started.set()
        busy.wait(10)

    pool.submit(hold, urgent=True)
    started.wait(10)
    look_up = pool.submit(lambda: asked.append("look-up"), urgent=False)
    refund = pool.submit(lambda: asked.append("refund"), urgent=True)
    pool.close()
    busy.set()
    refund.result(10)
    assert (asked, look_up.done()) == (["refund"], False)


def test_an_error_of_a_request_is_raised_where_it_is_awaited() -> None:
    pool = RequestPool(1)

    def fail() -> None:
        raise KeyError(7)

    assert isinstance(pool.submit(fail, urgent=True).exception(10), KeyError)
    pool.close()
