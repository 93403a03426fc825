"""On a terminal, ask for what was left out of a refund, a record or a closing. A script is never asked."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from refundcli.cli.context import App
from refundcli.cli.prompts import ask, ask_for
from refundcli.domain.errors import UsageProblem
from refundcli.domain.invoice import Invoice
from refundcli.domain.money import Money
from refundcli.domain.reasons import RefundReason, parse_reason
from refundcli.domain.refusals import DisputeClosed
from refundcli.domain.typed_amount import parse_typed_amount
from refundcli.services.invoices.allocation import PaymentNeeded, Share, payment_name, total_of
from refundcli.services.invoices.lookup import payment_behind

Found = TypeVar("Found")
Choice = TypeVar("Choice")


@dataclass(frozen=True, slots=True)
class Entered:
    """What was given as options, and answered since."""

    number: str
    is_full: bool
    amount: str
    reason: RefundReason | None
    payment: str = ""
    dispute_decision: str = ""

    @property
    def is_complete(self) -> bool:
        return bool(self.number and self.reason and self.has_amount)

    @property
    def has_amount(self) -> bool:
        return self.is_full or bool(self.amount)

    def money(self, invoice: Invoice) -> Money | None:
        """The amount; None for all that is left. Raises InvalidAmount."""
        return parse_typed_amount(self.amount, invoice.currency) if self.amount else None


@dataclass(frozen=True, slots=True)
class Questions:
    """Asks about one invoice, once the rules allow what is asked about.

    `find`: the invoice by what was typed. `shares`: what would be refunded of which payment; it raises the refusals,
    and returns nothing while that depends on the reason. `undone_action`: as in `prompts.ask_to_type`.
    """

    app: App
    undone_action: str
    find: Callable[[str], Invoice]
    shares: Callable[[Invoice, Entered], Sequence[Share]]

    def complete(self, entered: Entered) -> Entered:
        """With every value that is needed. Raises the first refusal, NotConfirmed, Interrupted."""
        invoice, typed = self._invoice(entered.number)
        payment = entered.payment or payment_behind(invoice, typed)
        was_complete = entered.is_complete
        entered = replace(entered, number=invoice.number, payment=payment)
        entered, shares = self._allowed(invoice, entered)
        if not was_complete:
            from refundcli.output.views.questions import show_subject

            show_subject(invoice, total_of(shares) if shares else None, self.app.err)
        if not shares:
            # What may be recorded depends on the reason.
            entered = replace(entered, reason=ask_reason(self.app, undone_action=self.undone_action))
        if not entered.has_amount:
            entered = self._with_amount(invoice, entered)
        if entered.reason is None:
            entered = replace(entered, reason=ask_reason(self.app, undone_action=self.undone_action))
        return self._with_payment(invoice, entered)

    def _invoice(self, number: str) -> tuple[Invoice, str]:
        """The invoice, and what was typed for it."""
        if number:
            return self.find(number), number
        return ask_number(self.app, lambda typed: (self.find(typed), typed), undone_action=self.undone_action)

    def _allowed(self, invoice: Invoice, entered: Entered) -> tuple[Entered, Sequence[Share]]:
        """Ask for a decision where a dispute was won; any other refusal is raised."""
        try:
            return entered, self._shares(invoice, entered)
        except DisputeClosed as refusal:
            self.app.err.say(("! ", "yellow"), refusal.message)
            decision = ask_for(
                self.app,
                "Who decided what, and when:",
                missing="Without a decision it cannot be refunded.",
                undone_action=self.undone_action,
            )
            entered = replace(entered, dispute_decision=decision)
            return entered, self._shares(invoice, entered)

    def _shares(self, invoice: Invoice, entered: Entered) -> Sequence[Share]:
        """Those that may be chosen, while it is not known which of several payments is meant."""
        try:
            return self.shares(invoice, entered)
        except PaymentNeeded:
            return self.shares(invoice, replace(entered, amount="", is_full=True))

    def _with_amount(self, invoice: Invoice, entered: Entered) -> Entered:
        def read(typed: str) -> Entered:
            if not typed or typed.lower() == "all":
                return replace(entered, is_full=True)
            with_amount = replace(entered, amount=typed)
            self._shares(invoice, with_amount)
            return with_amount

        amount_left = total_of(self._shares(invoice, replace(entered, is_full=True)))
        return ask(self.app, f"Amount [{amount_left}, all that is left]:", read, undone_action=self.undone_action)

    def _with_payment(self, invoice: Invoice, entered: Entered) -> Entered:
        try:
            self.shares(invoice, entered)
            return entered
        except PaymentNeeded as doubt:
            payments = doubt.payments
        from refundcli.output.views.questions import payment_words

        for number, payment in enumerate(payments, 1):
            self.app.err.say(f"{number}  {payment_words(payment, payment.refundable)}", indent=3)
        names = [payment_name(invoice, payment) for payment in payments]
        chosen_name = ask(
            self.app,
            f"Payment [1-{len(names)}]:",
            lambda typed: typed if typed in names else _numbered(typed, names),
            undone_action=self.undone_action,
        )
        return replace(entered, payment=chosen_name)


def ask_number(app: App, find: Callable[[str], Found], *, undone_action: str) -> Found:
    """What `find` returns for the number that is typed."""

    def read(typed: str) -> Found:
        if not typed:
            raise UsageProblem("Type the invoice's number, a provider's ID, or a credit note's number.")
        return find(typed)

    return ask(app, "Invoice number:", read, undone_action=undone_action)


def ask_reason(app: App, *, undone_action: str) -> RefundReason:
    """One of the eight, by its number or its word (R4)."""
    from refundcli.output.views.questions import show_reasons

    reasons = list(RefundReason)
    show_reasons(app.err)
    return ask(
        app,
        f"Reason [1-{len(reasons)}]:",
        lambda typed: _numbered(typed, reasons) if typed.isdecimal() else parse_reason(typed),
        undone_action=undone_action,
    )


def _numbered(typed: str, choices: Sequence[Choice]) -> Choice:
    if typed.isdecimal() and 0 < int(typed) <= len(choices):
        return choices[int(typed) - 1]
    raise UsageProblem(f"Type a number from 1 to {len(choices)}.")
