"""How an unfinished or failed refund is told, with the way on."""

from refundcli.domain.errors import OutcomeUnknown, ProviderDeclined
from refundcli.domain.refund import Refund


class NotConfirmedByProvider(OutcomeUnknown):
    code = "outcome-unknown"

    def __init__(self, refund: Refund) -> None:
        who = refund.provider.label if refund.provider else "The provider"
        why = f" ({refund.failure})" if refund.failure else ""
        super().__init__(
            f"{who} did not confirm refund {refund.id}{why}. It may or may not have been made.",
            hint=f"{refund.amount} stays reserved, so it cannot be paid twice. Do not refund by hand.\n"
            f"Next: refundcli resume {refund.id}     (asks {who}, and sends again only if it never arrived)",
            context={"refund": refund.id, "invoice": refund.invoice_number},
        )


class RefundDeclined(ProviderDeclined):
    code = "provider-declined"

    def __init__(self, refund: Refund) -> None:
        who = refund.provider.label if refund.provider else "The provider"
        super().__init__(
            f"{who} declined refund {refund.id}: {refund.failure or 'no reason was given'}.",
            hint=f"{refund.amount} is free again. refundcli invoice show {refund.invoice_number}   shows what may be "
            "done;\n"
            f"if it was returned by other means: refundcli mark-refunded {refund.invoice_number} "
            f"--full --reason {refund.reason} --after-failed {refund.id} --evidence TEXT",
            context={"refund": refund.id, "invoice": refund.invoice_number},
        )
