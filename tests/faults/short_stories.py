"""Short stories, each about one mechanism: yields the violated invariants.

They are judged by what the sandbox did and by sums, never by how the program is made.
"""

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

from sqlalchemy import text

from desk import Desk, new_invoice
from faults.scenes import CAPTURED, Scene
from refundcli.domain.money import parse_money
from refundcli.domain.statuses import Provider
from refundcli.providers.stripe.refunds import StripeProvider
from refundcli.services.dispatch import policy
from refundcli.services.ports.records import NewPayment

DAY = timedelta(days=1)
Broken = Iterator[str]


@dataclass(frozen=True, slots=True)
class Story:
    name: str
    play: Callable[[Scene], Broken]
    provider: str = "adyen"
    # Of the payment, where it is another one than 100.00 EUR by card.
    of: dict[str, Any] = field(default_factory=dict)
    amount: str = "100.00 EUR"


def broken_promises(story: Story, desk: Desk, spoil: Callable[[ExitStack], None] | None = None) -> list[str]:
    """The violated invariants; `spoil` patches in a defect."""
    scene = Scene(desk, story.provider)
    with ExitStack() as around:
        scene.open(around, story.amount, **story.of)
        if spoil:
            spoil(around)
        return [*story.play(scene), *scene.unsound()]


# --- disputes --------------------------------------------------------------------------------------------------


def two_disputes_were_lost(scene: Scene) -> Broken:
    for lost in (3000, 2000):
        scene.disputed("CHARGEBACK", "SECOND_CHARGEBACK", amount=lost)
    scene.refund()
    yield from scene.paid_twice(by_the_bank=5000)
    if scene.refunded != 5000:
        yield f"I6: {scene.refunded} were refunded, and 5000 were left"


def one_of_two_disputes_ended(scene: Scene) -> Broken:
    scene.disputed("CHARGEBACK", amount=3000)
    scene.disputed("NOTIFICATION_OF_CHARGEBACK", "CHARGEBACK_REVERSED", amount=2000)
    scene("refund INV-1 --full --reason other --yes --dispute-decision 'won one of them'")
    yield from scene.sent_into_a_dispute()


def documents_were_supplied(scene: Scene) -> Broken:
    scene.disputed("NOTIFICATION_OF_CHARGEBACK", "CHARGEBACK", "INFORMATION_SUPPLIED")
    scene.refund()
    yield from scene.sent_into_a_dispute()


def a_record_of_a_lost_dispute_was_undone(scene: Scene) -> Broken:
    scene.disputed("CHARGEBACK", "SECOND_CHARGEBACK", amount=3000)
    record = scene("mark-refunded INV-1 --full --reason chargeback --yes").json["refunds"][0]["id"]
    undone = scene(f"mark-refunded --undo {record} --memo mistake --yes")
    if undone.exit_code:
        yield f"I11: the record could not be undone: {undone}"
    scene.refund()
    yield from scene.paid_twice(by_the_bank=3000)


# --- words that nobody listed ----------------------------------------------------------------------------------


def a_word_that_is_not_listed(scene: Scene) -> Broken:
    scene.sandbox.adyen_event("DISPUTE_FOO", scene.reference)
    scene.post_comes()
    yield from _sent_although_unreviewed(scene)


def a_status_that_is_not_listed(scene: Scene) -> Broken:
    scene.sandbox.dispute(scene.reference, "limbo", 3000)
    scene.post_comes()
    yield from _sent_although_unreviewed(scene)


def a_refund_in_another_currency(scene: Scene) -> Broken:
    scene.sandbox.adyen_event("REFUND", scene.reference, amount=10_000, currency="USD", success=True)
    scene.post_comes()
    yield from _sent_although_unreviewed(scene)


def _sent_although_unreviewed(scene: Scene) -> Broken:
    scene.refund()
    if scene.refund_requests:
        yield "R13: a refund was sent beside an update that nobody has reviewed"
    if scene("status").exit_code != 8:
        yield "R13: status says nothing of an update that nobody has reviewed"


# --- before a first send ---------------------------------------------------------------------------------------


def the_dashboard_refunded_what_was_ready(scene: Scene) -> Broken:
    scene.left_ready("--amount 40")
    scene.sandbox.dashboard_refund(scene.reference, 4000)
    scene("resume --yes")
    if scene.refunded != 4000:
        yield f"I3: 4000 were to be refunded, and {scene.refunded} were"


def a_dispute_came_after_it_was_ready(scene: Scene) -> Broken:
    scene.left_ready("--amount 40")
    scene.disputed("NOTIFICATION_OF_CHARGEBACK", "CHARGEBACK")
    scene("resume --yes")
    yield from scene.sent_into_a_dispute()


def a_dispute_came_before_a_run_claimed(scene: Scene) -> Broken:
    run = f"refund --from {scene.file_of('INV-1,40,other')} --yes"
    scene.killed_before_the_claim(run)
    scene.disputed("NOTIFICATION_OF_CHARGEBACK", "CHARGEBACK")
    scene(run)
    yield from scene.sent_into_a_dispute()


def another_host_holds_the_lease(scene: Scene) -> Broken:
    """Whether that process lives is unknown, so its lease must expire."""
    scene.left_ready("--amount 40")
    with scene.desk.books.engine.begin() as line:
        line.execute(text("UPDATE refund SET lease_owner = 'another-host|1|1'"))
    waited = []

    def wait(seconds: float) -> None:
        waited.append(scene.refund_requests)
        scene.time_passes(timedelta(minutes=10))

    with patch.object(policy, "SendingPolicy", partial(policy.SendingPolicy, sleep=wait)):
        scene("resume --yes")
    if waited != [0]:
        yield "I3: a refund was sent that another host may be sending"
    if scene.refunded != 4000:
        yield f"I6: 4000 were to be refunded, and {scene.refunded} were"


def a_backup_was_restored(scene: Scene) -> Broken:
    """At Adyen, which has no look-up: the same key must send the same body."""
    file, copy = Path(scene.desk.url.removeprefix("sqlite:///")), scene.desk.folder / "backup.db"
    scene.desk.books.engine.dispose()
    shutil.copy(file, copy)
    scene.refund("--amount 40", key="order-7")
    scene.desk.books.engine.dispose()
    shutil.copy(copy, file)
    scene.refund("--amount 40", key="order-7")
    if scene.refunded != 4000:
        yield f"I4: the request key moved {scene.refunded}, and 4000 were asked for"
    references = {refund.provider_reference for refund in scene.invoice.refunds}
    lost = [
        provider_refund.id
        for provider_refund in scene.sandbox.refunds_of(scene.reference)
        if provider_refund.id not in references
    ]
    yield from (f"I6, lost: the books do not know {provider_refund}" for provider_refund in lost)


# --- what an answer proves -------------------------------------------------------------------------------------


def it_was_declined(scene: Scene) -> Broken:
    """A dispute opens during the send: Stripe answers with a plain 400."""
    ask = StripeProvider.refund

    def refund(provider: Any, *args: Any) -> Any:
        scene.sandbox.dispute(scene.reference)
        return ask(provider, *args)

    with patch.object(StripeProvider, "refund", refund):
        answer = scene.refund()
    if answer.exit_code != 6:
        yield f"I11: it was declined, and the command says otherwise: {answer}"
    if scene.invoice.reserved.minor:
        yield "I6: Stripe said no, and the amount stays reserved"


def a_replay_is_declined(scene: Scene) -> Broken:
    """The refund was made and the response lost. The replay is declined for a newer reason."""
    scene.sandbox.faults("drop_after", provider="adyen")
    scene.refund()
    payment = scene.sandbox.state.payments
    hidden = payment.pop(scene.reference)
    scene.sandbox.forget_keys("adyen")
    scene("resume --yes")
    payment[scene.reference] = hidden
    (refund,) = scene.invoice.refunds
    if refund.state == "failed":
        yield "I5: it is failed and its amount free, but the provider made it"


def it_is_sent_again_and_again(scene: Scene) -> Broken:
    """Every attempt is lost; the key window starts with the first."""
    scene.sandbox.faults("drop_after", provider="adyen")
    scene.refund()
    for _ in range(2):
        scene.time_passes(5 * DAY)
        scene.sandbox.faults("500_before", provider="adyen")
        scene("resume --yes")
    scene.sandbox.clear_faults()
    scene("resume --yes")
    yield from scene.old_keys()
    if scene.refunded > CAPTURED:
        yield f"I3: {scene.refunded} were given of {CAPTURED}"


# --- late changes ----------------------------------------------------------------------------------------------


def a_failed_refund_succeeds_after_all(scene: Scene) -> Broken:
    """Adyen tries again by itself after REFUND_FAILED (R14)."""
    scene.refund()
    (provider_refund,) = scene.sandbox.refunds_of(scene.reference)
    _reported(scene, provider_refund, "REFUND", "REFUND_FAILED", "REFUND")
    (refund,) = scene.invoice.refunds
    scene(f"acknowledge {refund.id} --yes")
    scene.time_passes(11 * DAY)
    scene.refund()
    if scene.refund_requests > 1:
        yield "I3: a second refund was sent after the first one succeeded"
    if scene("status").exit_code != 8:
        yield "R14: status says nothing of a refund that failed and succeeded after all"


def a_refund_fails_and_may_be_retried(scene: Scene) -> Broken:
    scene.refund()
    (refund,) = scene.sandbox.refunds_of(scene.reference)
    _reported(scene, refund, "REFUND_FAILED")
    scene.refund()
    if scene.refund_requests > 1:
        yield "I5: a second refund was sent while Adyen may retry the first one"


def _reported(scene: Scene, refund: Any, *codes: str) -> None:
    """One a day; Adyen's other notifications are lost."""
    scene.post_is_lost()
    for code in codes:
        scene.time_passes(DAY)
        of = {"psp_reference": refund.id, "amount": refund.amount, "merchant_reference": refund.reference}
        scene.sandbox.adyen_event(code, scene.reference, success=True, effect=False, **of)
    scene.post_comes()


# --- records, and external refunds -----------------------------------------------------------------------------


def a_dashboard_refund_was_recorded_under_another_name(scene: Scene) -> Broken:
    scene.sandbox.dashboard_refund(scene.reference, 4000)
    scene("mark-refunded INV-1 --amount 40 --reason other --reference slip-7 --yes")
    scene.post_comes()
    invoice = scene.invoice
    if invoice.refunded.minor != 4000:
        yield f"I6: {scene.refunded} were given, and {invoice.refunded} are counted as refunded"
    if invoice.refundable.minor != 2000:
        yield f"I1: of 100.00, with 40.00 recorded and 40.00 to be matched, {invoice.refundable} may be refunded"
    if scene("status").exit_code != 8:
        yield "R13: status says nothing of a refund that is not matched"


def a_matched_record_is_not_undone(scene: Scene) -> Broken:
    scene.sandbox.dashboard_refund(scene.reference, 4000)
    record = scene("mark-refunded INV-1 --amount 40 --reason other --yes").json["refunds"][0]["id"]
    scene.post_comes()
    if scene(f"mark-refunded --undo {record} --memo mistake --yes").exit_code != 3:
        yield "I11: it was not refused to undo a record of a refund that the provider made"
    if scene.invoice.refunded.minor != scene.refunded:
        yield f"I6: {scene.refunded} were given, and {scene.invoice.refunded} are counted as refunded"


def a_record_is_undone(scene: Scene) -> Broken:
    record = scene("mark-refunded INV-1 --amount 40 --reason other --yes").json["refunds"][0]["id"]
    undone = scene(f"mark-refunded --undo {record} --memo mistake --yes")
    if undone.exit_code:
        yield f"I11: the record could not be undone: {undone}"
    if scene.invoice.refunded.minor:
        yield f"I6: nothing was given, and {scene.invoice.refunded} are counted as refunded"


# --- what is this invoice's ------------------------------------------------------------------------------------


def the_payment_is_larger_than_the_share(scene: Scene) -> Broken:
    """150 were captured, and 100 of it for this invoice."""
    scene("reconcile")
    scene.refund()
    scene.refund("--amount 50")
    if scene.refunded > CAPTURED:
        yield f"I1: {scene.refunded} were given for an invoice of {CAPTURED}"


def a_part_was_never_captured(scene: Scene) -> Broken:
    """60 of 100 were captured. Stripe lists the released part as a refund, although no money moved."""
    charge = scene.sandbox.charge("100.00 EUR", captured_amount=6000)
    payment = NewPayment(6000, Provider.STRIPE, "card", charge.reference, auto_refundable=True)
    scene.desk.bring_in(new_invoice("INV-2", parse_money("60.00 EUR"), payments=(payment,)))
    scene("reconcile")
    invoice = scene.desk.invoice("INV-2")
    if invoice.refunded.minor or invoice.refunds:
        yield f"I6: nothing was given, and {invoice.refunded} are counted as refunded"
    scene("refund INV-2 --full --reason other --yes")
    if scene.desk.invoice("INV-2").status != "refunded":
        yield "I6: all that was captured was to be given back, and was not"


# --- numbers ---------------------------------------------------------------------------------------------------


def a_year_ends(scene: Scene) -> Broken:
    scene.refund("--amount 40")
    scene.time_passes(365 * DAY)
    scene.refund("--amount 30")
    notes = [refund.credit_note.number for refund in scene.invoice.refunds if refund.credit_note]
    if notes != ["CN-1", "CN-2"]:
        yield f"I9: the credit notes are numbered {notes}"


_BY_HAND = {"auto_refundable": False}
_SHARE = {"captured": CAPTURED, "total": CAPTURED}
STORIES = {
    story.name: story
    for story in (
        Story("two disputes were lost", two_disputes_were_lost),
        Story("one of two disputes ended", one_of_two_disputes_ended),
        Story("documents were supplied", documents_were_supplied),
        Story("a record of a lost dispute was undone", a_record_of_a_lost_dispute_was_undone),
        Story("a word that is not listed", a_word_that_is_not_listed),
        Story("a status that is not listed", a_status_that_is_not_listed, "stripe"),
        Story("a refund in another currency", a_refund_in_another_currency),
        Story("the dashboard refunded what was ready", the_dashboard_refunded_what_was_ready, "stripe"),
        Story("a dispute came after it was ready", a_dispute_came_after_it_was_ready),
        Story("a dispute came before a run claimed", a_dispute_came_before_a_run_claimed),
        Story("another host holds the lease", another_host_holds_the_lease),
        Story("a backup was restored", a_backup_was_restored),
        Story("it was declined", it_was_declined, "stripe"),
        Story("a replay is declined", a_replay_is_declined),
        Story("it is sent again and again", it_is_sent_again_and_again),
        Story("a failed refund succeeds after all", a_failed_refund_succeeds_after_all),
        Story("a refund fails and may be retried", a_refund_fails_and_may_be_retried),
        Story(
            "a dashboard refund was recorded under another name",
            a_dashboard_refund_was_recorded_under_another_name,
            of=_BY_HAND,
        ),
        Story("a record is undone", a_record_is_undone, of=_BY_HAND),
        Story("a matched record is not undone", a_matched_record_is_not_undone, of=_BY_HAND),
        Story(
            "the payment is larger than the share", the_payment_is_larger_than_the_share, "stripe", _SHARE, "150.00 EUR"
        ),
        Story("a part was never captured", a_part_was_never_captured, "stripe"),
        Story("a year ends", a_year_ends, "stripe"),
    )
}
