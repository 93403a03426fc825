"""Threads that wait for providers: refunds before anything else, and nothing begun that was taken back."""

import threading

from refundcli.services.bulk.request_pool import Errand, Senders


def errand(asked: list[str], name: str) -> Errand:
    return Errand(lambda: asked.append(name), lambda errand: None, name)


def test_what_nobody_has_taken_up_is_taken_back_and_never_asked() -> None:
    senders, asked, taken_up, busy = Senders(1), list[str](), threading.Event(), threading.Event()

    def hold() -> None:
        taken_up.set()
        busy.wait(10)

    held = Errand(hold, lambda errand: None)
    senders.send(held, urgent=False)
    taken_up.wait(10)
    waiting = errand(asked, "refund")
    senders.send(waiting, urgent=True)
    senders.send(errand(asked, "preflight"), urgent=False)
    assert (senders.take_back(), senders.outstanding) == ([waiting], 1)
    busy.set()
    senders.wait(10)
    assert (senders.come_back(), senders.come_back()) == (held, None)
    assert (asked, senders.outstanding) == ([], 0)
    senders.close()


def test_refunds_go_before_anything_else() -> None:
    senders, asked, busy = Senders(1), list[str](), threading.Event()
    senders.send(Errand(lambda: busy.wait(10), lambda errand: None), urgent=True)
    senders.send(errand(asked, "preflight"), urgent=False)
    senders.send(errand(asked, "refund"), urgent=True)
    busy.set()
    while senders.outstanding:
        senders.wait(10)
        senders.come_back()
    assert asked == ["refund", "preflight"]
    senders.close()
