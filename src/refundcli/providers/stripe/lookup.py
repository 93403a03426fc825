"""Read payments, refunds, disputes and invoices from Stripe. An incomplete list is an error."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, tzinfo
from urllib.parse import quote

from refundcli.domain.currencies import Currency
from refundcli.domain.dispute import DisputeStage, DisputeState
from refundcli.domain.invoice import STRIPE_INVOICE
from refundcli.domain.money import Money, zero
from refundcli.domain.statuses import RefundState
from refundcli.providers import ProviderUnreachable
from refundcli.providers.answers import Fields, fields_in, safe_text, text_in
from refundcli.providers.stripe import fields, invoices
from refundcli.providers.stripe import payments as objects
from refundcli.providers.stripe.refunds import refund_id_in, why_failed
from refundcli.providers.stripe.sdk import StripeReader, complete_list
from refundcli.providers.stripe.vocabulary import CHARGE_STATUSES, PAYMENT_INTENT_STATUSES, refund_meaning
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


class StripeRecords(StripeReader):
    """`ProviderRecords` for one key; dates are in `zone`, the books' time zone."""

    def __init__(
        self,
        api_key: str,
        settings: StripeSettings,
        refund_settings: RefundSettings,
        account: str,
        pace: Pace | None = None,
        *,
        zone: tzinfo = UTC,
    ) -> None:
        super().__init__(api_key, settings, refund_settings, account, pace)
        self._zone = zone

    # --- payments ------------------------------------------------------------------------------------------

    def payment(self, reference: str, *, of_invoice: str = "") -> PaymentSnapshot | None:
        """The payment's snapshot; one request for most payments, because charge and refunds are expanded.

        `of_invoice` is the id of its invoice, whose credit notes are then looked up too.
        """
        snapshot = self._payment(reference)
        if snapshot is None or not of_invoice.startswith(STRIPE_INVOICE):
            return snapshot
        return replace(snapshot, credited=self.credited(of_invoice))

    def _payment(self, reference: str) -> PaymentSnapshot | None:
        asked_at = datetime.now(UTC)
        if reference.startswith("pi_"):
            intent = self._object("/v1/payment_intents", reference, expand=["latest_charge.refunds"])
            return self._with_doubt(self._snapshot_of_intent(intent, asked_at), intent) if intent else None
        charge = self._charge(reference)
        return self._snapshot_of(charge, asked_at) if charge else None

    def _charge(self, reference: str) -> Fields | None:
        return self._object("/v1/charges", reference, expand=["refunds"])

    def payments(self, *, since: date | None) -> Iterator[PaymentSnapshot | UnreadablePayment]:
        """Every charge made since that day, with its refunds, a hundred in one request."""
        params = {"expand": ["data.refunds"], **self._created_since(since)}
        asked_at = datetime.now(UTC)
        for charge in self._pages("/v1/charges", params):
            if charge.get("status") == "failed":
                continue
            try:
                yield self._snapshot_of(charge, asked_at)
            except CannotBeHeld as problem:
                yield UnreadablePayment(self.name, _references(charge), problem.message)

    def _snapshot_of_intent(self, intent: Fields, asked_at: datetime) -> PaymentSnapshot:
        charge, is_processing = intent.get("latest_charge"), intent.get("status") == "processing"
        if isinstance(charge, str):
            charge = self._charge(charge)
        if fields.has_id(charge) and fields_in(charge).get("status") != "failed":
            return self._snapshot_of(fields_in(charge), asked_at, is_processing=is_processing)
        if intent.get("status") == "succeeded":
            return self._snapshot_without_charge(intent, asked_at)
        zero_amount = zero(fields.currency_of(intent))
        return PaymentSnapshot(
            self.name, (fields.id_of(intent),), zero_amount, zero_amount, is_processing, (), (), asked_at
        )

    def _snapshot_of(self, charge: Fields, asked_at: datetime, *, is_processing: bool = False) -> PaymentSnapshot:
        payment_references, charge_filter = _references(charge), {"charge": fields.id_of(charge)}
        currency = fields.currency_of(charge)
        # Skip the request only on an explicit false: a refund during a dispute could pay the customer twice (R11).
        disputes = [] if charge.get("disputed") is False else list(self._pages("/v1/disputes", charge_filter))
        captured_amount = (
            fields.amount_of(charge, "amount_captured", currency) if charge.get("captured") else zero(currency)
        )
        listed_refunds = list(self._refunds_of(charge))
        releases = objects.releases_in(listed_refunds, charge)
        readable_refunds = [
            refund for refund in listed_refunds if refund not in releases and objects.amount_or_none(refund) is not None
        ]
        refund_updates = [self._refund_update(refund, payment_references) for refund in readable_refunds]
        doubts = self._doubts(listed_refunds, disputes, payment_references, currency)
        if text_in(charge.get("status")) not in CHARGE_STATUSES:
            doubts = (*doubts, self._doubt("charge", charge, payment_references))
        card_last4, card_brand = objects.card_of(charge)
        released_amount = sum((fields.amount_of(refund, "amount", currency) for refund in releases), zero(currency))
        return PaymentSnapshot(
            provider=self.name,
            references=payment_references,
            captured=captured_amount,
            refunded=max(fields.amount_of(charge, "amount_refunded", currency) - released_amount, zero(currency)),
            processing=is_processing or charge.get("status") == "pending",
            disputes=self._disputes_in(
                disputes, payment_references, currency, asked_at, is_charge_disputed=bool(charge.get("disputed"))
            ),
            refunds=tuple(refund_updates),
            asked_at=asked_at,
            why_not_refundable=objects.why_not_refundable(disputes),
            unsupported=objects.why_unsupported(charge),
            doubts=doubts,
            card_last4=card_last4,
            card_brand=card_brand,
        )

    def _snapshot_without_charge(self, intent: Fields, asked_at: datetime) -> PaymentSnapshot:
        """Money was received, but no charge is named: everything is read by the intent."""
        payment_references, intent_filter = (fields.id_of(intent),), {"payment_intent": fields.id_of(intent)}
        currency = fields.currency_of(intent)
        received_field = "amount" if intent.get("amount_received") is None else "amount_received"
        listed_refunds = list(self._pages("/v1/refunds", intent_filter))
        refund_updates = [self._refund_update(refund, payment_references) for refund in listed_refunds]
        disputes = list(self._pages("/v1/disputes", intent_filter))
        return PaymentSnapshot(
            provider=self.name,
            references=payment_references,
            captured=fields.amount_of(intent, received_field, currency),
            refunded=sum((refund.amount for refund in refund_updates if _is_given(refund, currency)), zero(currency)),
            processing=False,
            disputes=self._disputes_in(disputes, payment_references, currency, asked_at),
            refunds=tuple(refund_updates),
            asked_at=asked_at,
            why_not_refundable=objects.why_not_refundable(disputes),
            unsupported=objects.why_unsupported(intent),
            doubts=self._doubts(listed_refunds, disputes, payment_references, currency),
        )

    def _refunds_of(self, charge: Fields) -> Iterable[Fields]:
        """The refunds expanded in the charge if they are complete, else the full list."""
        expanded_refunds = fields_in(charge.get("refunds"))
        if expanded_refunds.get("has_more") is False:
            return complete_list(expanded_refunds)
        return self._pages("/v1/refunds", {"charge": fields.id_of(charge)})

    # --- refunds -------------------------------------------------------------------------------------------

    def refund(self, reference: str) -> RefundUpdate | None:
        refund = self._object("/v1/refunds", reference)
        return self._refund_update(refund) if refund else None

    def refunds(self, *, since: date | None) -> Iterator[RefundUpdate]:
        for refund in self._pages("/v1/refunds", self._created_since(since)):
            yield self._refund_update(refund)

    def _refund_update(self, refund: Fields, payment_references: tuple[str, ...] = ()) -> RefundUpdate:
        currency, status = fields.currency_of(refund), text_in(refund.get("status"))
        meaning = refund_meaning(status)
        # A refund in an unlisted status may have moved money, so it counts as pending, and blocks the payment (R13).
        state = meaning.refund if meaning and meaning.refund else RefundState.PENDING
        own_references = (fields.id_in(refund.get("payment_intent")), fields.id_in(refund.get("charge")))
        return RefundUpdate(
            provider=self.name,
            reference=fields.id_of(refund),
            payment_references=payment_references or tuple(filter(None, own_references)),
            amount=fields.amount_of(refund, "amount", currency),
            state=state,
            status=status,
            account=self.account,
            livemode=self.livemode,
            refund_id=text_in(refund_id_in(refund)),
            failure=why_failed(refund) if state is RefundState.FAILED else "",
            created_at=fields.time_of(refund.get("created")),
            reported_at=datetime.now(UTC),
            pending_reason=objects.pending_reason(refund),
            expires_at=objects.expires_at(refund),
            trace=objects.trace_number(refund),
        )

    # --- disputes ------------------------------------------------------------------------------------------

    def _disputes_in(
        self,
        listed_disputes: Sequence[Fields],
        payment_references: tuple[str, ...],
        currency: Currency,
        asked_at: datetime,
        *,
        is_charge_disputed: bool = False,
    ) -> tuple[DisputeUpdate, ...]:
        """Every dispute of a payment; one without a reference if the charge is disputed and no dispute is listed."""
        disputes = [
            DisputeUpdate(
                provider=self.name,
                reference=fields.id_of(dispute),
                payment_references=payment_references,
                state=objects.dispute_state(dispute),
                stage=objects.dispute_stage(dispute),
                status=objects.dispute_status(dispute),
                at=asked_at,
                amount=objects.disputed_amount(dispute, currency),
                account=self.account,
                livemode=self.livemode,
            )
            for dispute in listed_disputes
        ]
        if is_charge_disputed and not listed_disputes:
            unnamed_dispute = DisputeUpdate(
                self.name, "", payment_references, DisputeState.OPEN, DisputeStage.CHARGEBACK, "disputed", asked_at
            )
            disputes.append(unnamed_dispute)
        return tuple(disputes)

    def _doubts(
        self,
        refunds: Sequence[Fields],
        disputes: Sequence[Fields],
        payment_references: tuple[str, ...],
        currency: Currency,
    ) -> tuple[Doubt, ...]:
        """Refunds and disputes whose status is not listed, and refunds that contradict their payment (R13)."""
        doubts = [
            *(self._doubt("refund", refund, payment_references) for refund in refunds if not _is_listed(refund)),
            *(
                self._doubt("dispute", dispute, payment_references)
                for dispute in disputes
                if objects.dispute_state(dispute) is DisputeState.UNKNOWN
            ),
            *(self._odd_amount(refund, payment_references) for refund in refunds if objects.is_odd(refund, currency)),
        ]
        return tuple(doubts)

    def _odd_amount(self, refund: Fields, payment_references: tuple[str, ...]) -> Doubt:
        amount_text, currency_code = safe_text(refund.get("amount")) or "0", safe_text(refund.get("currency")).upper()
        refund_reference = safe_text(refund.get("id"))
        amount_and_currency = f"{amount_text} {currency_code}"
        why = f"refund {refund_reference} of {amount_and_currency} (in Stripe's minor units) does not fit its payment"
        doubt_word = f"refund amount {amount_and_currency}"[:60]
        return Doubt(self.name, payment_references, doubt_word, fields.id_of(refund), why, self.account)

    def _doubt(self, object_kind: str, resource: Fields, payment_references: tuple[str, ...]) -> Doubt:
        return Doubt(
            self.name,
            payment_references,
            f"{object_kind} status {safe_text(resource.get('status'))[:60] or 'null'}",
            fields.id_of(resource),
            f"{object_kind} {safe_text(resource.get('id'))} has a status that refundcli does not know",
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
        invoice = self._object("/v1/invoices", invoice_reference)
        return self._credited(invoice) if invoice else None

    def _credited(self, invoice: Fields) -> Money:
        currency = fields.currency_of(invoice)
        if not invoice.get("post_payment_credit_notes_amount"):
            return zero(currency)
        try:
            credit_notes = list(self._pages("/v1/credit_notes", {"invoice": fields.id_of(invoice)}))
        except ProviderUnreachable:
            # Without the notes, all of the credit may be on the balance.
            credit_notes = []
        return invoices.credited(invoice, credit_notes, currency)

    def credits(self) -> dict[str, Money | None]:
        """What all credit notes at Stripe credited to the customer's balance, by invoice."""
        credit_of_invoice: dict[str, Money | None] = {}
        for credit_note in self._pages("/v1/credit_notes", {}):
            invoice_reference = fields.id_in(credit_note.get("invoice"))
            try:
                note_credit = invoices.credited_by(credit_note)
            except CannotBeHeld:
                note_credit = None
            credit_of_invoice[invoice_reference] = (
                _added(credit_of_invoice[invoice_reference], note_credit)
                if invoice_reference in credit_of_invoice
                else note_credit
            )
        return credit_of_invoice

    # --- invoices ------------------------------------------------------------------------------------------

    def invoices(self, *, since: date | None, after: str) -> Iterator[ProviderInvoice | SkippedInvoice]:
        """The invoices created since that day, newest first, starting after the invoice with the id `after`, if any."""
        if after and self._object("/v1/invoices", after) is None:
            after = ""  # the draft was deleted, so the pull cannot resume after it
        params = {**self._created_since(since), **({"starting_after": after} if after else {})}
        for invoice in self._pages("/v1/invoices", params):
            try:
                yield self._invoice_with_payments(invoice)
            except CannotBeHeld as problem:
                yield SkippedInvoice(fields.id_of(invoice), text_in(invoice.get("number")), problem.message)

    def invoice(self, id_or_number: str) -> ProviderInvoice | None:
        """The invoice with this id, or with this number from the full list: Stripe's search lags by some minutes."""
        if id_or_number.startswith(STRIPE_INVOICE):
            invoice = self._object("/v1/invoices", id_or_number)
            return self._invoice_with_payments(invoice) if invoice else None
        listed_invoices = self._pages("/v1/invoices", {})
        matching_invoice = next((invoice for invoice in listed_invoices if invoice.get("number") == id_or_number), None)
        return self._invoice_with_payments(matching_invoice) if matching_invoice else None

    def _invoice_with_payments(self, stripe_invoice: Fields) -> ProviderInvoice:
        invoice_payments = self._pages("/v1/invoice_payments", {"invoice": fields.id_of(stripe_invoice)})
        # Stripe lists the newest first; the books have them in the order of payment.
        payments = [payment for payment in invoice_payments if payment.get("status") != "canceled"][::-1]
        payment_references = dict.fromkeys(filter(None, map(invoices.paid_by, payments)))
        snapshot_of_reference = {
            reference: snapshot for reference in payment_references if (snapshot := self.payment(reference))
        }
        missing_references = [
            paid_reference
            for payment in payments
            if payment.get("status") == "paid"
            and (paid_reference := invoices.paid_by(payment)) not in snapshot_of_reference
        ]
        if any(missing_references):
            raise CannotBeHeld(
                self.name, f"its payment {safe_text(next(filter(None, missing_references)))} was not found at Stripe"
            )
        product_names = invoices.products_in(self._lines_of(stripe_invoice))
        new_invoice = invoices.new_invoice(stripe_invoice, payments, snapshot_of_reference, product_names, self._zone)
        return ProviderInvoice(
            fields.id_of(stripe_invoice),
            new_invoice,
            tuple(snapshot_of_reference.values()),
            self._credited(stripe_invoice),
        )

    def _lines_of(self, invoice: Fields) -> Iterable[object]:
        """The lines in the invoice if they are complete, else the full list: a long invoice has the first ones only."""
        expanded_lines = fields_in(invoice.get("lines"))
        if expanded_lines.get("has_more") is True:
            return self._pages(f"/v1/invoices/{quote(fields.id_of(invoice), safe='')}/lines", {})
        lines = expanded_lines.get("data")
        return lines if isinstance(lines, list) else []


def _added(amount: Money | None, other_amount: Money | None) -> Money | None:
    """Their sum; None if one of them is unknown, or of another currency."""
    if amount is None or other_amount is None or amount.currency != other_amount.currency:
        return None
    return amount + other_amount


def _is_listed(refund: Fields) -> bool:
    return refund_meaning(text_in(refund.get("status"))) is not None


def _is_given(refund: RefundUpdate, payment_currency: Currency) -> bool:
    return refund.state.is_accepted and refund.amount.currency == payment_currency


def _references(charge: Fields) -> tuple[str, ...]:
    return tuple(filter(None, (fields.id_in(charge.get("payment_intent")), fields.id_of(charge))))
