"""Threads that wait for providers: refunds before anything else, and nothing begun that was taken back."""

import threading

from refundcli.services.bulk.request_pool import Errand, Senders


def job(sent: list[str], name: str) -> Errand:
    return Errand(lambda: sent.append(name), lambda errand: None, name)


def test_what_nobody_has_taken_up_is_taken_back_and_never_asked() -> None:
    senders, sent, taken_up, busy = Senders(1), list[str](), threading.Event(), threading.Event()

    def hold() -> None:
        taken_up.set()
        busy.wait(10)

    blocking = Errand(hold, lambda errand: None)
    senders.send(blocking, urgent=False)
    taken_up.wait(10)
    waiting = job(sent, "refund")
    senders.send(waiting, urgent=True)
    senders.send(job(sent, "preflight"), urgent=False)
    assert (senders.take_back(), senders.outstanding) == ([waiting], 1)
    busy.set()
    senders.wait(10)
    assert (senders.come_back(), senders.come_back()) == (blocking, None)
    assert (sent, senders.outstanding) == ([], 0)
    senders.close()


def test_refunds_go_before_anything_else() -> None:
    senders, sent, busy = Senders(1), list[str](), threading.Event()
    senders.send(Errand(lambda: busy.wait(10), lambda errand: None), urgent=True)
    senders.send(job(sent, "preflight"), urgent=False)
    senders.send(job(sent, "refund"), urgent=True)
    busy.set()
    while senders.outstanding:
        senders.wait(10)
        senders.come_back()
    assert sent == ["refund", "preflight"]
    senders.close()
