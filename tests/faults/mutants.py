"""Six defective programs. The sweep must catch each, which proves that it can fail."""

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

from sqlalchemy import Engine, bindparam, event, update

from faults.cases import Case
from refundcli.domain.invoice import Payment
from refundcli.domain.refund import Refund
from refundcli.domain.statuses import RefundState
from refundcli.services.dispatch import protocol, send_refund
from refundcli.services.dispatch.outcomes import Signal
from refundcli.services.dispatch.outcomes import outcome_of as real_outcome_of
from refundcli.services.ports.providers import RefundAnswer
from refundcli.store.repositories import payment_writing, refund_writing
from refundcli.store.tables import PAYMENT, REFUND


@dataclass(frozen=True, slots=True)
class Mutant:
    """`apply` patches the program inside a forked child; `concerns` selects the cases that should catch it."""

    name: str
    apply: Callable[[], None]
    concerns: Callable[[Case], bool]
    most_cases: int = 60


def _a_new_key_on_replay() -> None:
    """`resume` sends with a new key, as if none were stored."""

    send_again = protocol.Dispatch.send_again

    def with_a_new_key(dispatch: Any, refund: Refund) -> Any:
        made_up = str(uuid.uuid4())
        provider = dispatch.providers.of(refund.provider)
        ask = provider.refund
        with patch.object(type(provider), "refund", lambda _, request, key, may_send: ask(request, made_up, may_send)):
            return send_again(dispatch, refund)

    patch.object(protocol.Dispatch, "send_again", with_a_new_key).start()


def _failed_on_any_error() -> None:
    def outcome_of(answer: RefundAnswer, *, first_send: bool) -> RefundState:
        accepted = answer.signal == Signal.ACCEPTED and answer.state
        return accepted or RefundState.FAILED

    patch.object(protocol, "outcome_of", outcome_of).start()


def _no_look_up_before_replay() -> None:
    patch.object(send_refund, "look_up", lambda refund, provider: None).start()


def _released_on_a_replayed_403() -> None:
    def outcome_of(answer: RefundAnswer, *, first_send: bool) -> RefundState | None:
        refused = answer.signal == Signal.NOT_ALLOWED
        return RefundState.FAILED if refused else real_outcome_of(answer, first_send=first_send)

    patch.object(protocol, "outcome_of", outcome_of).start()


def _no_guard_against_over_refunds() -> None:
    """Removes the guards of the UPDATE, the CHECK and the rule."""

    def reserve(self: Any, payment: Payment, amount: Any) -> bool:
        changes = {"reserved": PAYMENT.c.reserved + amount.minor}
        return bool(self._hits(update(PAYMENT).where(PAYMENT.c.id == payment.id).values(**changes)))

    def unchecked(connection: Any, record: Any) -> None:
        connection.execute("PRAGMA ignore_check_constraints=ON")

    patch.object(payment_writing.SqlPayments, "reserve", reserve).start()
    event.listen(Engine, "connect", unchecked)
    patch.object(Payment, "refundable", property(lambda payment: payment.captured)).start()


def _outcome_without_its_fence() -> None:
    def whatever_the_fence(refund: Refund) -> dict[str, Any]:
        return {"of_id": refund.id, "of_state": refund.state.value}

    is_refund = (REFUND.c.id == bindparam("of_id"), REFUND.c.state == bindparam("of_state"))
    unfenced = update(REFUND).where(*is_refund)
    patch.object(refund_writing, "_as_it_was", whatever_the_fence).start()
    patch.object(refund_writing, "_REFUND_AS_IT_WAS", unfenced).start()


def _plain(case: Case) -> bool:
    return case.story == "resume" and case.fault is None


MUTANTS = (
    Mutant(
        "a new idempotency key on a replay",
        _a_new_key_on_replay,
        lambda case: _plain(case) and case.leftover == "made" and case.provider == "adyen",
    ),
    Mutant("failed on any error", _failed_on_any_error, lambda case: case.story == "refund" and case.fault is None),
    Mutant("no look-up before a replay", _no_look_up_before_replay, lambda case: case.story == "forgotten"),
    Mutant(
        "the reservation released on a replayed 403",
        _released_on_a_replayed_403,
        lambda case: _plain(case) and case.leftover == "made" and case.behaviour == "403",
    ),
    Mutant(
        "no guard against over-refunds",
        _no_guard_against_over_refunds,
        lambda case: (case.story, case.provider, case.fault, case.then) == ("refund", "adyen", None, "rivals"),
    ),
    Mutant(
        "an outcome written without its fence",
        _outcome_without_its_fence,
        lambda case: case.story == "paused" and case.behaviour == "403",
    ),
)
