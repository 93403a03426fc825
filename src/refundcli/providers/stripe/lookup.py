"""Read payments, refunds, disputes and invoices from Stripe. An incomplete list is an error."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, tzinfo
from functools import partial
from typing import Any
from urllib.parse import quote

from refundcli.domain.currencies import Currency
from refundcli.domain.dispute import DisputeStage, DisputeState
from refundcli.domain.money import Money, zero
from refundcli.domain.statuses import RefundState
from refundcli.providers import ProviderUnreachable
from refundcli.providers.stripe import fields, invoices
from refundcli.providers.stripe import payments as objects
from refundcli.providers.stripe import refunds as refunding
from refundcli.providers.stripe.fields import Fields
from refundcli.providers.stripe.reader import StripeReader
from refundcli.providers.stripe.vocabulary import CHARGE_STATUSES, PAYMENT_INTENT_STATUSES, refund_meaning
from refundcli.providers.transport import safe_text, text_in
from refundcli.services.dispatch.rate_limit import Pace
from refundcli.services.ports.provider_updates import (
    CannotBeHeld,
    DisputeUpdate,
    Doubt,
    PaymentSnapshot,
    RefundUpdate,
    UnreadablePayment,
)
from refundcli.services.ports.providers import STRIPE_INVOICE, ProviderInvoice, SkippedInvoice
from refundcli.settings import RefundSettings, StripeSettings


class StripeRecords(StripeReader):
    """`ProviderRecords` for one key; dates are in `zone`, the books' time zone."""

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
        """The payment's snapshot; one request for most payments, because charge and refunds are expanded."""
        snapshot = self._payment(reference)
        if snapshot is None or not of_invoice.startswith(STRIPE_INVOICE):
            return snapshot
        return replace(snapshot, credited=self.credited(of_invoice))

    def _payment(self, reference: str) -> PaymentSnapshot | None:
        asked_at = datetime.now(UTC)
        if reference.startswith("pi_"):
            path = f"/v1/payment_intents/{quote(reference, safe='')}"
            # Raw, because building the SDK's objects would slow a run down.
            intent = self._object(lambda: self._client.raw_request("get", path, expand=["latest_charge.refunds"]))
            return self._with_doubt(self._snapshot_of_intent(intent, asked_at), intent) if intent else None
        charge = self._charge(reference)
        return self._snapshot_of(charge, asked_at) if charge else None

    def _charge(self, reference: str) -> Fields | None:
        path = f"/v1/charges/{quote(reference, safe='')}"
        return self._object(lambda: self._client.raw_request("get", path, expand=["refunds"]))

    def payments(self, *, since: date | None) -> Iterator[PaymentSnapshot | UnreadablePayment]:
        """Every charge with its refunds, a hundred in one request."""
        params = {"expand": ["data.refunds"], **self._created_since(since)}
        asked_at = datetime.now(UTC)
        for charge in self._pages(self._client.v1.charges.list, params):
            if charge.get("status") == "failed":
                continue
            try:
                yield self._snapshot_of(charge, asked_at)
            except CannotBeHeld as problem:
                yield UnreadablePayment(self.name, _references(charge), problem.message)

    def _snapshot_of_intent(self, intent: Fields, asked_at: datetime) -> PaymentSnapshot:
        charge, processing = intent.get("latest_charge"), intent.get("status") == "processing"
        if isinstance(charge, str):
            charge = self._charge(charge)
        if isinstance(charge, Mapping) and fields.has_id(charge) and charge.get("status") != "failed":
            return self._snapshot_of(charge, asked_at, processing=processing)
        if intent.get("status") == "succeeded":
            return self._snapshot_without_charge(intent, asked_at)
        nothing = zero(fields.currency_of(intent))
        return PaymentSnapshot(self.name, (fields.id_of(intent),), nothing, nothing, processing, (), (), asked_at)

    def _snapshot_of(self, charge: Fields, asked_at: datetime, *, processing: bool = False) -> PaymentSnapshot:
        references, about = _references(charge), {"charge": fields.id_of(charge)}
        of = fields.currency_of(charge)
        # Skip the request only on an explicit false: a refund during a dispute could pay the customer twice (R11).
        disputes = [] if charge.get("disputed") is False else list(self._pages(self._client.v1.disputes.list, about))
        captured = fields.amount_of(charge, "amount_captured", of) if charge.get("captured") else zero(of)
        listed = list(self._refunds_of(charge))
        released = objects.releases_in(listed, charge)
        readable = [
            refund for refund in listed if refund not in released and objects.amount_or_none(refund) is not None
        ]
        refunds = [self._refund_update(refund, references) for refund in readable]
        doubts = self._doubts(listed, disputes, references, of)
        if text_in(charge.get("status")) not in CHARGE_STATUSES:
            doubts = (*doubts, self._doubt("charge", charge, references))
        never_taken = sum((fields.amount_of(refund, "amount", of) for refund in released), zero(of))
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

    def _snapshot_without_charge(self, intent: Fields, asked_at: datetime) -> PaymentSnapshot:
        """Money was received, but no charge is named: everything is read by the intent."""
        references, about = (fields.id_of(intent),), {"payment_intent": fields.id_of(intent)}
        of = fields.currency_of(intent)
        received = "amount" if intent.get("amount_received") is None else "amount_received"
        listed = list(self._pages(self._client.v1.refunds.list, about))
        refunds = [self._refund_update(refund, references) for refund in listed]
        disputes = list(self._pages(self._client.v1.disputes.list, about))
        return PaymentSnapshot(
            provider=self.name,
            references=references,
            captured=fields.amount_of(intent, received, of),
            refunded=sum((refund.amount for refund in refunds if _is_given(refund, of)), zero(of)),
            processing=False,
            disputes=self._disputes_in(disputes, references, of, asked_at),
            refunds=tuple(refunds),
            asked_at=asked_at,
            why_not_refundable=objects.why_not_refundable(disputes),
            unsupported=objects.why_unsupported(intent),
            doubts=self._doubts(listed, disputes, references, of),
        )

    def _refunds_of(self, charge: Fields) -> Iterable[Fields]:
        """The refunds expanded in the charge if they are complete, else the full list."""
        expanded = charge.get("refunds")
        if isinstance(expanded, Mapping) and expanded.get("has_more") is False:
            return self._complete_list(expanded)
        return self._pages(self._client.v1.refunds.list, {"charge": fields.id_of(charge)})

    # --- refunds -------------------------------------------------------------------------------------------

    def refund(self, reference: str) -> RefundUpdate | None:
        refund = self._object(lambda: self._client.v1.refunds.retrieve(reference))
        return self._refund_update(refund) if refund else None

    def refunds(self, *, since: date | None) -> Iterator[RefundUpdate]:
        for refund in self._pages(self._client.v1.refunds.list, self._created_since(since)):
            yield self._refund_update(refund)

    def _refund_update(self, refund: Fields, references: tuple[str, ...] = ()) -> RefundUpdate:
        of, status = fields.currency_of(refund), text_in(refund.get("status"))
        meaning = refund_meaning(status)
        # A refund in an unlisted status may have moved money, so it counts as pending, and blocks the payment (R13).
        state = meaning.refund if meaning and meaning.refund else RefundState.PENDING
        own = (fields.id_in(refund.get("payment_intent")), fields.id_in(refund.get("charge")))
        return RefundUpdate(
            provider=self.name,
            reference=fields.id_of(refund),
            payment_references=references or tuple(filter(None, own)),
            amount=fields.amount_of(refund, "amount", of),
            state=state,
            status=status,
            account=self.account,
            livemode=self.livemode,
            refund_id=text_in(refunding.refund_id_in(refund)),
            failure=refunding.why_failed(refund) if state is RefundState.FAILED else "",
            created_at=fields.time_of(refund.get("created")),
            reported_at=datetime.now(UTC),
            pending_reason=objects.pending_reason(refund),
            expires_at=objects.expires_at(refund),
        )

    # --- disputes ------------------------------------------------------------------------------------------

    def _disputes_in(
        self,
        listed: Sequence[Fields],
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
                reference=fields.id_of(dispute),
                payment_references=references,
                state=objects.dispute_state(dispute),
                stage=objects.dispute_stage(dispute),
                status=objects.dispute_status(dispute),
                at=at,
                amount=objects.disputed_amount(dispute, of),
                account=self.account,
                livemode=self.livemode,
            )
            for dispute in listed
        ]
        if is_disputed and not listed:
            unnamed = DisputeUpdate(
                self.name, "", references, DisputeState.OPEN, DisputeStage.CHARGEBACK, "disputed", at
            )
            disputes.append(unnamed)
        return tuple(disputes)

    def _doubts(
        self, refunds: Sequence[Fields], disputes: Sequence[Fields], references: tuple[str, ...], of: Currency
    ) -> tuple[Doubt, ...]:
        """Refunds and disputes whose status is not listed, and refunds that contradict their payment (R13)."""
        doubts = [
            *(self._doubt("refund", refund, references) for refund in refunds if not _is_listed(refund)),
            *(
                self._doubt("dispute", dispute, references)
                for dispute in disputes
                if objects.dispute_state(dispute) is DisputeState.UNKNOWN
            ),
            *(self._odd_amount(refund, references) for refund in refunds if objects.is_odd(refund, of)),
        ]
        return tuple(doubts)

    def _odd_amount(self, refund: Fields, references: tuple[str, ...]) -> Doubt:
        amount, code = safe_text(refund.get("amount")) or "0", safe_text(refund.get("currency")).upper()
        name = safe_text(refund.get("id"))
        why = f"refund {name} of {amount} {code} (in Stripe's minor units) does not fit its payment"
        word = f"refund amount {amount} {code}"[:60]
        return Doubt(self.name, references, word, fields.id_of(refund), why, self.account)

    def _doubt(self, kind: str, resource: Fields, references: tuple[str, ...]) -> Doubt:
        return Doubt(
            self.name,
            references,
            f"{kind} status {safe_text(resource.get('status'))[:60] or 'null'}",
            fields.id_of(resource),
            f"{kind} {safe_text(resource.get('id'))} has a status that refundcli does not know",
            self.account,
            objects.amount_or_none(resource),
        )

    def _with_doubt(self, snapshot: PaymentSnapshot, intent: Fields) -> PaymentSnapshot:
        """Add a doubt if the status of the payment intent is not listed (R13)."""
        if text_in(intent.get("status")) in PAYMENT_INTENT_STATUSES:
            return snapshot
        return replace(snapshot, doubts=(*snapshot.doubts, self._doubt("payment", intent, snapshot.references)))

    def credited(self, invoice_reference: str) -> Money | None:
        """What credit notes of the invoice credited to the customer's balance; None if Stripe has no such invoice."""
        invoice = self._object(lambda: self._client.v1.invoices.retrieve(invoice_reference))
        return self._credited(invoice) if invoice else None

    def _credited(self, invoice: Fields) -> Money:
        of = fields.currency_of(invoice)
        if not invoice.get("post_payment_credit_notes_amount"):
            return zero(of)
        params: dict[str, Any] = {"invoice": fields.id_of(invoice)}
        try:
            notes = list(self._pages(self._client.v1.credit_notes.list, params))
        except ProviderUnreachable:
            # Without the notes, all of the credit may be on the balance.
            notes = []
        return invoices.credited(invoice, notes, of)

    def credits(self) -> dict[str, Money | None]:
        """What all credit notes at Stripe credited to the customer's balance, by invoice."""
        by_invoice: dict[str, Money | None] = {}
        for note in self._pages(self._client.v1.credit_notes.list, {}):
            reference = fields.id_in(note.get("invoice"))
            try:
                credited = invoices.credited_by(note)
            except CannotBeHeld:
                credited = None
            by_invoice[reference] = _added(by_invoice[reference], credited) if reference in by_invoice else credited
        return by_invoice

    # --- invoices ------------------------------------------------------------------------------------------

    def invoices(self, *, since: date | None, after: str) -> Iterator[ProviderInvoice | SkippedInvoice]:
        if after and self._object(lambda: self._client.v1.invoices.retrieve(after)) is None:
            after = ""  # the draft was deleted, so the pull cannot resume after it
        params = {**self._created_since(since), **({"starting_after": after} if after else {})}
        for invoice in self._pages(self._client.v1.invoices.list, params):
            try:
                yield self._invoice_with_payments(invoice)
            except CannotBeHeld as problem:
                yield SkippedInvoice(fields.id_of(invoice), text_in(invoice.get("number")), problem.message)

    def invoice(self, name: str) -> ProviderInvoice | None:
        """The invoice with this id, or with this number from the full list: Stripe's search lags by some minutes."""
        if name.startswith(STRIPE_INVOICE):
            invoice = self._object(lambda: self._client.v1.invoices.retrieve(name))
            return self._invoice_with_payments(invoice) if invoice else None
        listed = self._pages(self._client.v1.invoices.list, {})
        match = next((invoice for invoice in listed if invoice.get("number") == name), None)
        return self._invoice_with_payments(match) if match else None

    def _invoice_with_payments(self, resource: Fields) -> ProviderInvoice:
        listed = self._pages(self._client.v1.invoice_payments.list, {"invoice": fields.id_of(resource)})
        # Stripe lists the newest first; the books have them in the order of payment.
        paid = [payment for payment in listed if payment.get("status") != "canceled"][::-1]
        references = dict.fromkeys(filter(None, map(invoices.paid_by, paid)))
        snapshots = {reference: snapshot for reference in references if (snapshot := self.payment(reference))}
        gone = [
            by
            for payment in paid
            if payment.get("status") == "paid" and (by := invoices.paid_by(payment)) not in snapshots
        ]
        if any(gone):
            raise CannotBeHeld(self.name, f"its payment {safe_text(next(filter(None, gone)))} is not there")
        products = invoices.products_in(self._lines_of(resource))
        invoice = invoices.new_invoice(resource, paid, snapshots, products, self._zone)
        return ProviderInvoice(fields.id_of(resource), invoice, tuple(snapshots.values()), self._credited(resource))

    def _lines_of(self, invoice: Fields) -> Iterable[object]:
        """The lines in the invoice if they are complete, else the full list: a long invoice has the first ones only."""
        expanded = invoice.get("lines")
        if not isinstance(expanded, Mapping) or expanded.get("has_more") is not True:
            lines = expanded.get("data") if isinstance(expanded, Mapping) else None
            return lines if isinstance(lines, list) else []
        return self._pages(partial(self._client.v1.invoices.line_items.list, fields.id_of(invoice)), {})


def _added(first: Money | None, second: Money | None) -> Money | None:
    """Their sum; None if one of them is unknown, or of another currency."""
    if first is None or second is None or first.currency != second.currency:
        return None
    return first + second


def _is_listed(refund: Fields) -> bool:
    return refund_meaning(text_in(refund.get("status"))) is not None


def _is_given(refund: RefundUpdate, of: Currency) -> bool:
    return refund.state.is_accepted and refund.amount.currency == of


def _references(charge: Fields) -> tuple[str, ...]:
    return tuple(filter(None, (fields.id_in(charge.get("payment_intent")), fields.id_of(charge))))
