"""Commands that several refusals propose as the next step, ready to paste."""

import shlex


def adopt_command(name: str, *, invoice: str = "", reason: str = "REASON") -> str:
    """The command that adopts an external refund. `name`: its id, ours or the provider's."""
    of = f" --invoice {shlex.quote(invoice)}" if invoice else ""
    return f"refundcli reconcile --adopt {shlex.quote(name)} --reason {reason}{of}"
