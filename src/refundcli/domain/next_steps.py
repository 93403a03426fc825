"""Commands that several refusals propose as the next step, ready to paste."""

import shlex


def adopt_command(refund_id: str, *, invoice: str = "", reason: str = "REASON") -> str:
    """The command that adopts an external refund. `refund_id`: its id, ours or the provider's."""
    invoice_option = f" --invoice {shlex.quote(invoice)}" if invoice else ""
    return f"refundcli reconcile --adopt {shlex.quote(refund_id)} --reason {reason}{invoice_option}"
