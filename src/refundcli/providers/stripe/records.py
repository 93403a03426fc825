"""What Stripe keeps of payments, refunds, disputes and invoices.

Only reads; half a list never passes for a whole one.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, tzinfo
from functools import partial
from typing import Any
from urllib.parse import quote

import stripe

from refundcli.domain.currencies import Currency
from refundcli.domain.dispute import DisputeStage, DisputeState
from refundcli.domain.money import Money, zero
from refundcli.domain.statuses import Provider, RefundState
from refundcli.providers import BadCredentials, ProviderUnreachable
from refundcli.providers.stripe import fields, invoices
from refundcli.providers.stripe import payments as objects
from refundcli.providers.stripe import refunds as refunding
from refundcli.providers.stripe.fields import Fields
from refundcli.providers.stripe.vocabulary import CHARGE_STATUSES, PAYMENT_INTENT_STATUSES, refund_meaning
from refundcli.providers.transport import retry_after, said, text_in
from refundcli.services.dispatch.rate_limit import Pace
from refundcli.services.ports.provider_updates import (
    CannotBeHeld,
    DisputeUpdate,
    Doubt,
    PaymentSnapshot,
    RefundUpdate,
    UnreadablePayment,
)
from refundcli.services.ports.providers import ProviderInvoice, SkippedInvoice
from refundcli.settings import RefundSettings, StripeSettings

_PAGE_SIZE = 100
_MOST_TRIES = 4
_LONGEST_WAIT_SECONDS = 10.0


class StripeRecords:
    """`ProviderRecords` for one key; dates are in `zone`, the books' own."""

    name = Provider.STRIPE

    def __init__(
        self,
        key: str,
        settings: StripeSettings,
        refunds: RefundSettings,
        account: str,
        *,
        zone: tzinfo = UTC,
        pace: Pace | None = None,
    ) -> None:
        self.account = account
        self.livemode = refunding.is_live(key)
        self._zone = zone
        self._client = refunding.client_for(key, settings, refunds, pace)

    # --- payments ------------------------------------------------------------------------------------------

    def payment(self, reference: str, *, of_invoice: str = "") -> PaymentSnapshot | None:
        """One request for most payments: the charge travels with its intent, and its refunds with it."""
        snapshot = self._payment(reference)
        if snapshot is None or not of_invoice.startswith("in_"):
            return snapshot
        return replace(snapshot, credited=self.credited(of_invoice))

    def _payment(self, reference: str) -> PaymentSnapshot | None:
        asked_at = datetime.now(UTC)
        if reference.startswith("pi_"):
            path = f"/v1/payment_intents/{quote(reference, safe='')}"
            # Raw: the SDK's objects would be built for nothing, and a run waits for each.
            intent = self._one(lambda: self._client.raw_request("get", path, expand=["latest_charge.refunds"]))
            return self._with_doubt(self._truth_of_intent(intent, asked_at), intent) if intent else None
        charge = self._charge(reference)
        return self._truth_of(charge, asked_at) if charge else None

    def _charge(self, reference: str) -> Fields | None:
        path = f"/v1/charges/{quote(reference, safe='')}"
        return self._one(lambda: self._client.raw_request("get", path, expand=["refunds"]))

    def payments(self, *, since: date | None) -> Iterator[PaymentSnapshot | UnreadablePayment]:
        """Every charge with its refunds, a hundred in one request."""
        wanted = {"expand": ["data.refunds"], **self._made_since(since)}
        asked_at = datetime.now(UTC)
        for charge in self._pages(self._client.v1.charges.list, wanted):
            if charge.get("status") == "failed":
                continue
            try:
                yield self._truth_of(charge, asked_at)
            except CannotBeHeld as problem:
                yield UnreadablePayment(self.name, _references(charge), problem.message)

    def _truth_of_intent(self, intent: Fields, asked_at: datetime) -> PaymentSnapshot:
        charge, processing = intent.get("latest_charge"), intent.get("status") == "processing"
        if isinstance(charge, str):
            charge = self._charge(charge)
        if isinstance(charge, Mapping) and fields.has_id(charge) and charge.get("status") != "failed":
            return self._truth_of(charge, asked_at, processing=processing)
        if intent.get("status") == "succeeded":
            return self._truth_without_charge(intent, asked_at)
        nothing = zero(fields.currency_of(intent))
        return PaymentSnapshot(self.name, (fields.id_of(intent),), nothing, nothing, processing, (), (), asked_at)

    def _truth_of(self, charge: Fields, asked_at: datetime, *, processing: bool = False) -> PaymentSnapshot:
        references, about = _references(charge), {"charge": fields.id_of(charge)}
        of = fields.currency_of(charge)
        # Only a plain no spares the question: a refund into a dispute could pay the customer twice (R11).
        disputes = [] if charge.get("disputed") is False else list(self._pages(self._client.v1.disputes.list, about))
        captured = fields.amount_of(charge, "amount_captured", of) if charge.get("captured") else zero(of)
        listed = list(self._refunds_of(charge))
        released = objects.releases_in(listed, charge)
        readable = [each for each in listed if each not in released and objects.amount_or_none(each) is not None]
        refunds = [self._refund_news(each, references) for each in readable]
        doubts = self._doubts(listed, disputes, references, of)
        if text_in(charge.get("status")) not in CHARGE_STATUSES:
            doubts = (*doubts, self._doubt("charge", charge, references))
        never_taken = sum((fields.amount_of(each, "amount", of) for each in released), zero(of))
        return PaymentSnapshot(
            provider=self.name,
            references=references,
            captured=captured,
            refunded=max(fields.amount_of(charge, "amount_refunded", of) - never_taken, zero(of)),
            processing=processing or charge.get("status") == "pending",
            disputes=self._disputes_in(disputes, references, of, asked_at, is_disputed=bool(charge.get("disputed"))),
            refunds=tuple(refunds),
            asked_at=asked_at,
            why_not_refundable=objects.why_not_refundable(disputes),
            unsupported=objects.why_unsupported(charge),
            doubts=doubts,
        )

    def _truth_without_charge(self, intent: Fields, asked_at: datetime) -> PaymentSnapshot:
        """Money was received, and no charge is named: all is asked of the intent itself."""
        references, about = (fields.id_of(intent),), {"payment_intent": fields.id_of(intent)}
        of = fields.currency_of(intent)
        received = "amount" if intent.get("amount_received") is None else "amount_received"
        listed = list(self._pages(self._client.v1.refunds.list, about))
        refunds = [self._refund_news(each, references) for each in listed]
        disputes = list(self._pages(self._client.v1.disputes.list, about))
        return PaymentSnapshot(
            provider=self.name,
            references=references,
            captured=fields.amount_of(intent, received, of),
            refunded=sum((each.amount for each in refunds if _is_given(each, of)), zero(of)),
            processing=False,
            disputes=self._disputes_in(disputes, references, of, asked_at),
            refunds=tuple(refunds),
            asked_at=asked_at,
            why_not_refundable=objects.why_not_refundable(disputes),
            unsupported=objects.why_unsupported(intent),
            doubts=self._doubts(listed, disputes, references, of),
        )

    def _refunds_of(self, charge: Fields) -> Iterable[Fields]:
        """Those that came with the charge where these are all, else the whole list."""
        told = charge.get("refunds")
        if isinstance(told, Mapping) and told.get("has_more") is False:
            return self._items(told)
        return self._pages(self._client.v1.refunds.list, {"charge": fields.id_of(charge)})

    # --- refunds -------------------------------------------------------------------------------------------

    def refund(self, reference: str) -> RefundUpdate | None:
        told = self._one(lambda: self._client.v1.refunds.retrieve(reference))
        return self._refund_news(told) if told else None

    def refunds(self, *, since: date | None) -> Iterator[RefundUpdate]:
        for told in self._pages(self._client.v1.refunds.list, self._made_since(since)):
            yield self._refund_news(told)

    def _refund_news(self, told: Fields, references: tuple[str, ...] = ()) -> RefundUpdate:
        of, status = fields.currency_of(told), text_in(told.get("status"))
        meaning = refund_meaning(status)
        # A refund in an unlisted status may have moved money, so it counts as pending, and blocks the payment (R13).
        state = meaning.refund if meaning and meaning.refund else RefundState.PENDING
        own = (fields.id_in(told.get("payment_intent")), fields.id_in(told.get("charge")))
        return RefundUpdate(
            provider=self.name,
            reference=fields.id_of(told),
            payment_references=references or tuple(filter(None, own)),
            amount=fields.amount_of(told, "amount", of),
            state=state,
            status=status,
            account=self.account,
            livemode=self.livemode,
            refund_id=text_in(refunding.refund_id_in(told)),
            failure=refunding.why_failed(told) if state is RefundState.FAILED else "",
            created_at=fields.time_of(told.get("created")),
            reported_at=datetime.now(UTC),
            pending_reason=objects.pending_reason(told),
            expires_at=objects.expires_at(told),
        )

    # --- disputes ------------------------------------------------------------------------------------------

    def _disputes_in(
        self,
        found: Sequence[Fields],
        references: tuple[str, ...],
        of: Currency,
        at: datetime,
        *,
        is_disputed: bool = False,
    ) -> tuple[DisputeUpdate, ...]:
        """Every dispute of a payment; one without a reference if the charge is disputed and no dispute is listed."""
        disputes = [
            DisputeUpdate(
                provider=self.name,
                reference=fields.id_of(each),
                payment_references=references,
                state=objects.dispute_state(each),
                stage=objects.dispute_stage(each),
                status=objects.dispute_status(each),
                at=at,
                amount=objects.disputed_amount(each, of),
                account=self.account,
                livemode=self.livemode,
            )
            for each in found
        ]
        if is_disputed and not found:
            unnamed = DisputeUpdate(
                self.name, "", references, DisputeState.OPEN, DisputeStage.CHARGEBACK, "disputed", at
            )
            disputes.append(unnamed)
        return tuple(disputes)

    def _doubts(
        self, refunds: Sequence[Fields], disputes: Sequence[Fields], references: tuple[str, ...], of: Currency
    ) -> tuple[Doubt, ...]:
        """Refunds and disputes whose status is not listed, and refunds that contradict their payment (R13)."""
        unlisted = [("refund", each) for each in refunds if refund_meaning(text_in(each.get("status"))) is None]
        unlisted += [("dispute", each) for each in disputes if objects.dispute_state(each) is DisputeState.UNKNOWN]
        found = [self._doubt(kind, each, references) for kind, each in unlisted]
        return (*found, *(self._odd_amount(each, references) for each in refunds if objects.is_odd(each, of)))

    def _odd_amount(self, refund: Fields, references: tuple[str, ...]) -> Doubt:
        amount, code = said(refund.get("amount")) or "0", said(refund.get("currency")).upper()
        why = f"refund {said(refund.get('id'))} of {amount} {code} (in Stripe's minor units) does not fit its payment"
        word = f"refund amount {amount} {code}"[:60]
        return Doubt(self.name, references, word, fields.id_of(refund), why, self.account)

    def _doubt(self, kind: str, thing: Fields, references: tuple[str, ...]) -> Doubt:
        return Doubt(
            self.name,
            references,
            f"{kind} status {said(thing.get('status'))[:60] or 'null'}",
            fields.id_of(thing),
            f"{kind} {said(thing.get('id'))} has a status that refundcli does not know",
            self.account,
            objects.amount_or_none(thing),
        )

    def _with_doubt(self, snapshot: PaymentSnapshot, intent: Fields) -> PaymentSnapshot:
        """Add a doubt if the status of the payment intent is not listed (R13)."""
        if text_in(intent.get("status")) in PAYMENT_INTENT_STATUSES:
            return snapshot
        return replace(snapshot, doubts=(*snapshot.doubts, self._doubt("payment", intent, snapshot.references)))

    def credited(self, invoice_reference: str) -> Money | None:
        """What credit notes of the invoice gave to the customer's balance; None where Stripe has no such invoice."""
        invoice = self._one(lambda: self._client.v1.invoices.retrieve(invoice_reference))
        return self._credited(invoice) if invoice else None

    def _credited(self, invoice: Fields) -> Money:
        of = fields.currency_of(invoice)
        if not invoice.get("post_payment_credit_notes_amount"):
            return zero(of)
        params: dict[str, Any] = {"invoice": fields.id_of(invoice)}
        try:
            notes = list(self._pages(self._client.v1.credit_notes.list, params))
        except ProviderUnreachable:
            # Without the notes, all of the credit may have gone to the balance.
            notes = []
        return invoices.credited(invoice, notes, of)

    def credits(self) -> dict[str, Money | None]:
        """What the credit notes of each invoice gave to the customer's balance, of all that Stripe lists."""
        found: dict[str, Money | None] = {}
        for note in self._pages(self._client.v1.credit_notes.list, {}):
            reference = fields.id_in(note.get("invoice"))
            try:
                credited = invoices.credited_by(note)
            except CannotBeHeld:
                credited = None
            found[reference] = _added(found[reference], credited) if reference in found else credited
        return found

    # --- requests ------------------------------------------------------------------------------------------

    def _made_since(self, since: date | None) -> dict[str, Any]:
        if since is None:
            return {}
        return {"created": {"gte": int(datetime(since.year, since.month, since.day, tzinfo=self._zone).timestamp())}}

    def _one(self, ask: Callable[[], Any]) -> Fields | None:
        """The object asked for; None where Stripe has none of that id."""
        try:
            told = self._asked(ask)
        except stripe.InvalidRequestError as error:
            if error.code == "resource_missing":
                return None
            raise self._unreachable(error) from None
        if not isinstance(told, Mapping) or not text_in(told.get("id")):
            raise self._unreadable("its answer has no id")
        return told

    def _pages(self, ask: Callable[[Any], Any], wanted: Mapping[str, Any]) -> Iterator[Fields]:
        params = {"limit": _PAGE_SIZE, **wanted}
        while True:
            try:
                page = self._asked(partial(ask, params))
            except stripe.InvalidRequestError as error:
                raise self._unreachable(error) from None
            items = self._items(page)
            yield from items
            if not page["has_more"]:
                return
            params["starting_after"] = items[-1]["id"]

    def _items(self, page: Any) -> list[Fields]:
        told = page if isinstance(page, Mapping) else {}
        items, more = told.get("data"), told.get("has_more")
        whole = isinstance(items, list) and isinstance(more, bool) and all(fields.has_id(each) for each in items)
        if told.get("object") != "list" or not whole or (more and not items):
            raise self._unreadable("a list could not be read to its end")
        assert isinstance(items, list)
        return items

    def _asked(self, ask: Callable[[], Any]) -> Any:
        """One answer; after a 429 it is asked again a few times. A resource that is missing is told as the SDK does."""
        for tries in range(1, _MOST_TRIES + 1):
            try:
                return refunding.body(ask())
            except stripe.RateLimitError as error:
                if tries == _MOST_TRIES:
                    raise self._unreachable(error) from None
                time.sleep(min(retry_after(error.headers or {}) or 0.5 * 2**tries, _LONGEST_WAIT_SECONDS))
            except stripe.AuthenticationError:
                raise BadCredentials(self.name, "Stripe does not know it") from None
            except stripe.InvalidRequestError:
                raise
            except stripe.StripeError as error:
                raise self._unreachable(error) from None
            except Exception as error:  # the SDK stumbled over what came back
                raise self._unreadable(said(error)) from None
        raise AssertionError("the loop returns")

    def _unreachable(self, error: stripe.StripeError) -> ProviderUnreachable:
        return ProviderUnreachable(self.name, refunding.classified(error).message)

    def _unreadable(self, why: str) -> ProviderUnreachable:
        return ProviderUnreachable(self.name, f"what it answered could not be read: {why}.")

    # --- invoices ------------------------------------------------------------------------------------------

    def invoices(self, *, since: date | None, after: str) -> Iterator[ProviderInvoice | SkippedInvoice]:
        if after and self._one(lambda: self._client.v1.invoices.retrieve(after)) is None:
            after = ""  # a draft that was deleted since is no place to go on from
        wanted = {**self._made_since(since), **({"starting_after": after} if after else {})}
        for told in self._pages(self._client.v1.invoices.list, wanted):
            try:
                yield self._told_invoice(told)
            except CannotBeHeld as problem:
                yield SkippedInvoice(fields.id_of(told), text_in(told.get("number")), problem.message)

    def invoice(self, name: str) -> ProviderInvoice | None:
        """By its id, or by its number among all of them: Stripe's search is behind by some minutes."""
        if name.startswith("in_"):
            told = self._one(lambda: self._client.v1.invoices.retrieve(name))
            return self._told_invoice(told) if told else None
        listed = self._pages(self._client.v1.invoices.list, {})
        found = next((told for told in listed if told.get("number") == name), None)
        return self._told_invoice(found) if found else None

    def _told_invoice(self, told: Fields) -> ProviderInvoice:
        listed = self._pages(self._client.v1.invoice_payments.list, {"invoice": fields.id_of(told)})
        # They are listed the newest first; the books have them as they were made.
        paid = [each for each in listed if each.get("status") != "canceled"][::-1]
        references = dict.fromkeys(filter(None, map(invoices.paid_by, paid)))
        truths = {reference: truth for reference in references if (truth := self.payment(reference))}
        gone = [by for each in paid if each.get("status") == "paid" and (by := invoices.paid_by(each)) not in truths]
        if any(gone):
            raise CannotBeHeld(self.name, f"its payment {said(next(filter(None, gone)))} is not there")
        products = invoices.products_in(self._lines_of(told))
        invoice = invoices.new_invoice(told, paid, truths, products, self._zone)
        return ProviderInvoice(fields.id_of(told), invoice, tuple(truths.values()), self._credited(told))

    def _lines_of(self, invoice: Fields) -> Iterable[object]:
        """Those that came with the invoice where these are all: with more than some ten, the rest is a list apart."""
        told = invoice.get("lines")
        if not isinstance(told, Mapping) or told.get("has_more") is not True:
            lines = told.get("data") if isinstance(told, Mapping) else None
            return lines if isinstance(lines, list) else []
        return self._pages(partial(self._client.v1.invoices.line_items.list, fields.id_of(invoice)), {})


def _added(one: Money | None, other: Money | None) -> Money | None:
    """Their sum; None if one of them is unknown, or of another currency."""
    if one is None or other is None or one.currency != other.currency:
        return None
    return one + other


def _is_given(refund: RefundUpdate, of: Currency) -> bool:
    return refund.state.is_given and refund.amount.currency == of


def _references(charge: Fields) -> tuple[str, ...]:
    return tuple(filter(None, (fields.id_in(charge.get("payment_intent")), fields.id_of(charge))))
