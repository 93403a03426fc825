"""Defective programs: each lacks one mechanism, and its short story must report a violation.

PYTHONPATH=tests python -m faults.wrong_programs [NAME]. With the real program every story holds.
"""

import argparse
import os
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from unittest.mock import PropertyMock, patch

from sqlalchemy import Engine, event, update

from desk import MERCHANT, Desk
from engines import share_engines
from faults.databases import NewStore, stores
from faults.short_stories import STORIES, Story, broken_promises
from faults.verdict import summed
from memory import use_memory_for_temporary_files
from refundcli.domain.dispute import DisputeState
from refundcli.domain.identifiers import new_id
from refundcli.domain.invoice import Payment, Unreviewed
from refundcli.domain.refund import Refund
from refundcli.domain.statuses import RefundState
from refundcli.providers.adyen import updates, vocabulary
from refundcli.providers.stripe import lookup, payments
from refundcli.providers.stripe import sdk as stripe
from refundcli.sandbox.testing import RunningSandbox
from refundcli.services.bulk import undo_records
from refundcli.services.bulk.worker import claims
from refundcli.services.dispatch import first_send, leases, protocol
from refundcli.services.dispatch.outcomes import Signal, outcome_of
from refundcli.services.dispatch.send_refund import RefundDispatch
from refundcli.services.ports.provider_updates import EventState
from refundcli.services.ports.vocabulary import Effect, Meaning
from refundcli.services.provider_updates import apply_dispute, apply_update
from refundcli.services.provider_updates.outcome import UpdateOutcome
from refundcli.services.refunds import issue
from refundcli.store.repositories import credit_note_numbers, record_writing
from refundcli.store.repositories.payment_writing import SqlPayments
from refundcli.store.repositories.refund_writing import SqlRefunds
from refundcli.store.tables import PAYMENT
from refundcli.system import processes


@dataclass(frozen=True, slots=True)
class WrongProgram:
    """`spoil` removes one mechanism until the stack exits; one of the stories must catch it."""

    name: str
    spoil: Callable[[ExitStack], None]
    stories: tuple[str, ...]


def _instead(owner: Any, name: str, wrong: Any) -> Callable[[ExitStack], None]:
    return lambda around: around.enter_context(patch.object(owner, name, wrong))


# --- disputes --------------------------------------------------------------------------------------------------


def _one_slot(around: ExitStack) -> None:
    """Every dispute event is applied to the known dispute."""
    _instead(apply_dispute, "_record_of", lambda disputes, update: next(iter(disputes), None))(around)


def _documents_close_it(around: ExitStack) -> None:
    meaning_of = vocabulary.event_meaning

    def closes(code: str, success: bool) -> Meaning | None:
        meaning = meaning_of(code, success)
        return replace(meaning, dispute=DisputeState.CLOSED) if meaning and code == "INFORMATION_SUPPLIED" else meaning

    _instead(updates, "event_meaning", closes)(around)


def _undo_keeps_what_a_dispute_recorded(around: ExitStack) -> None:
    def given_back(refund: Refund, was_taken_by_dispute: bool) -> tuple[int, ...]:
        return refund.amount.minor, 0, 0, refund.payment_id, refund.amount.minor

    _instead(record_writing, "_given_back", given_back)(around)
    _instead(record_writing, "_LOSE", "UPDATE payment SET id = id WHERE id = ?")(around)


# --- words and updates -----------------------------------------------------------------------------------------


def _unlisted_event_is_ignored(around: ExitStack) -> None:
    meaning_of = vocabulary.event_meaning
    ignored = Meaning(Effect.NONE, "a guess")
    _instead(updates, "event_meaning", lambda code, success: meaning_of(code, success) or ignored)(around)


def _unlisted_status_is_ignored(around: ExitStack) -> None:
    _instead(lookup.StripeRecords, "_doubts", lambda *args: ())(around)
    _instead(payments, "dispute_state", lambda reported: None)(around)
    _instead(lookup.StripeRecords, "_disputes_in", lambda *args, **options: ())(around)


_does_not_block = _instead(Unreviewed, "blocks", PropertyMock(return_value=False))


def _failure_ends_it_at_once(around: ExitStack) -> None:
    news_of = updates._refund_update
    final = lambda *args: replace(news_of(*args), may_be_retried=False)  # noqa: E731
    _instead(updates, "_refund_update", final)(around)


def _success_after_failure_is_dropped(around: ExitStack) -> None:
    def dropped(tx: Any, refund: Any, update: Any, update_source: str) -> UpdateOutcome:
        return UpdateOutcome(EventState.APPLIED, "it has failed", refund=refund)

    _instead(apply_update, "_apply_success_after_failure", dropped)(around)


# --- before a first send ---------------------------------------------------------------------------------------

_no_snapshot = _instead(RefundDispatch, "look", lambda self, refund: None)
_no_rules_at_the_claim = _instead(first_send, "refusal_of", lambda *args: None)
_no_rules_in_a_run = _instead(claims, "why_not_sent", lambda *args: None)


def _gone_if_on_another_host(around: ExitStack) -> None:
    is_gone = processes.is_gone
    on_another_host = lambda owner: is_gone(owner) or not owner.startswith(f"{socket.gethostname()}|")  # noqa: E731
    for module in (processes, leases):
        _instead(module, "is_gone", on_another_host)(around)


def _made_up_ids(around: ExitStack) -> None:
    made_up = lambda *args: new_id("rf_", datetime.now(UTC))  # noqa: E731
    _instead(issue, "refund_id", made_up)(around)


def _claim_forgets_the_first_send(around: ExitStack) -> None:
    claim = SqlRefunds.claim

    def wrong(tx: Any, refund: Any, **lease: Any) -> Any:
        return claim(tx, replace(refund, sending=replace(refund.sending, first_sent_at=None)), **lease)

    _instead(SqlRefunds, "claim", wrong)(around)


# --- what an answer proves -------------------------------------------------------------------------------------


def _decline_is_unknown(around: ExitStack) -> None:
    signal_of = stripe._signal

    def signal(status: int, error: Any) -> Signal:
        original = signal_of(status, error)
        return Signal.OTHER if original is Signal.DECLINED else original

    _instead(stripe, "_signal", signal)(around)


def _replayed_decline_is_proof(around: ExitStack) -> None:
    def outcome(answer: Any, *, first_send: bool) -> RefundState | None:
        declined = answer.signal == Signal.DECLINED
        return RefundState.FAILED if declined else outcome_of(answer, first_send=first_send)

    _instead(protocol, "outcome_of", outcome)(around)


# --- records, shares, numbers ----------------------------------------------------------------------------------

_external_is_counted_beside_records = _instead(apply_update, "_unmatched_records", lambda invoice, payment: [])


def _undo_takes_matched_records(around: ExitStack) -> None:
    _instead(undo_records, "_one", lambda refund_id, reading: reading.refunds.get(refund_id))(around)


_released_is_refunded = _instead(payments, "releases_in", lambda refunds, charge: [])


def _share_is_all_that_was_captured(around: ExitStack) -> None:
    """The store's own guard is removed too."""

    def captured(payment: Payment) -> Any:
        return payment.provider_captured or payment.allocated

    def reserve(tx: Any, payment: Payment, amount: Any) -> bool:
        changes = {"reserved": PAYMENT.c.reserved + amount.minor}
        return bool(tx._hits(update(PAYMENT).where(PAYMENT.c.id == payment.id).values(**changes)))

    def unchecked(connection: Any, record: Any) -> None:
        connection.execute("PRAGMA ignore_check_constraints=ON")

    _instead(Payment, "captured", property(captured))(around)
    _instead(SqlPayments, "reserve", reserve)(around)
    event.listen(Engine, "connect", unchecked)
    around.callback(event.remove, Engine, "connect", unchecked)


_numbered_by_year = _instead(credit_note_numbers, "_series", lambda credit_note_format, on: f"credit_note:{on.year}")


WRONG_PROGRAMS = (
    WrongProgram(
        "a dispute event overwrites the record of another dispute",
        _one_slot,
        ("two disputes were lost", "one of two disputes ended"),
    ),
    WrongProgram("INFORMATION_SUPPLIED closes a dispute", _documents_close_it, ("documents were supplied",)),
    WrongProgram("an unlisted event code is ignored", _unlisted_event_is_ignored, ("a word that is not listed",)),
    WrongProgram("an unlisted status is ignored", _unlisted_status_is_ignored, ("a status that is not listed",)),
    WrongProgram(
        "an unreviewed event does not block",
        _does_not_block,
        ("a word that is not listed", "a refund in another currency"),
    ),
    WrongProgram("a first send without a snapshot", _no_snapshot, ("the dashboard refunded what was ready",)),
    WrongProgram("the claim does not check the rules", _no_rules_at_the_claim, ("a dispute came after it was ready",)),
    WrongProgram(
        "the claim of a run does not check the rules", _no_rules_in_a_run, ("a dispute came before a run claimed",)
    ),
    WrongProgram(
        "the lease of another host is taken for over", _gone_if_on_another_host, ("another host holds the lease",)
    ),
    WrongProgram("a refund id that is not derived", _made_up_ids, ("a backup was restored",)),
    WrongProgram(
        "the claim overwrites when it was first sent", _claim_forgets_the_first_send, ("it is sent again and again",)
    ),
    WrongProgram("a plain 400 is taken for unknown", _decline_is_unknown, ("it was declined",)),
    WrongProgram("a replayed 400 is taken for proof", _replayed_decline_is_proof, ("a replay is declined",)),
    WrongProgram(
        "a success after REFUND_FAILED is dropped",
        _success_after_failure_is_dropped,
        ("a failed refund succeeds after all",),
    ),
    WrongProgram(
        "REFUND_FAILED releases the amount at once",
        _failure_ends_it_at_once,
        ("a refund fails and may be retried",),
    ),
    WrongProgram(
        "an undecided external refund is counted twice",
        _external_is_counted_beside_records,
        ("a dashboard refund was recorded under another name",),
    ),
    WrongProgram(
        "what was never captured is counted as refunded", _released_is_refunded, ("a part was never captured",)
    ),
    WrongProgram(
        "a refund is bounded by what the provider captured",
        _share_is_all_that_was_captured,
        ("the payment is larger than the share",),
    ),
    WrongProgram("a series is counted by year without a year", _numbered_by_year, ("a year ends",)),
    WrongProgram(
        "undo keeps what a dispute recorded",
        _undo_keeps_what_a_dispute_recorded,
        ("a record of a lost dispute was undone",),
    ),
    WrongProgram(
        "undo takes back what was matched at the provider",
        _undo_takes_matched_records,
        ("a matched record is not undone",),
    ),
)


# --- a run -----------------------------------------------------------------------------------------------------


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m faults.wrong_programs", description="Short stories, and mutants.")
    parser.add_argument("name", nargs="?", default="", help="the wrong programs whose name has this")
    options = parser.parse_args(arguments)
    os.environ["NO_PROXY"] = "127.0.0.1,localhost"
    use_memory_for_temporary_files()
    share_engines()
    chosen = [program for program in WRONG_PROGRAMS if options.name in program.name]
    began = time.monotonic()
    with (
        tempfile.TemporaryDirectory(prefix="refundcli-wrong-") as directory,
        stores("sqlite", Path(directory)) as new_store,
    ):
        stories = [story for story in STORIES.values() if not options.name or _is_of(chosen, story)]
        broken = {story.name: _broken(story, new_store) for story in stories}
        escaped = [program.name for program in chosen if not _caught(program, new_store)]
    wrongs = [sentence for sentences in broken.values() for sentence in sentences]
    for name, sentences in broken.items():
        print("".join(f"VIOLATION {name}: {sentence}\n" for sentence in sentences), end="")
    print(
        f"short stories: {len(stories)} played, {len(wrongs)} violations; wrong programs: "
        f"{len(chosen) - len(escaped)} of {len(chosen)} caught, {time.monotonic() - began:.0f} s\n    {summed(wrongs)}"
    )
    return 1 if wrongs or escaped else 0


def _is_of(programs: Sequence[WrongProgram], story: Story) -> bool:
    return any(story.name in program.stories for program in programs)


def _caught(program: WrongProgram, new_store: NewStore) -> bool:
    for name in program.stories:
        sentences = _broken(STORIES[name], new_store, program.spoil)
        # A wrong program that cannot run any more is caught by nobody.
        assert not any("This is a bug" in sentence for sentence in sentences), f"{program.name}: {sentences}"
        if any(sentence.startswith(("I", "R")) for sentence in sentences):
            print(f"wrong program caught: {program.name}\n    by {name}: {sentences[0].splitlines()[0]}", flush=True)
            return True
    print(f"wrong program ESCAPED: {program.name}", flush=True)
    return False


def _broken(story: Story, new_store: NewStore, spoil: Callable[[ExitStack], None] | None = None) -> list[str]:
    with (
        tempfile.TemporaryDirectory(prefix="refundcli-story-") as folder,
        RunningSandbox(merchant_account=MERCHANT) as sandbox,
    ):
        desk = Desk(new_store(), sandbox, Path(folder))
        try:
            return broken_promises(story, desk, spoil)
        finally:
            desk.books.engine.dispose()


if __name__ == "__main__":
    sys.exit(main())
