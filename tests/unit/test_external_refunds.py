"""External refunds: every suggested command can be pasted into a shell, whatever the provider's id."""

import shlex

from refundcli.domain.next_steps import adopt_command


def test_the_command_that_adopts_one_quotes_the_reference_and_the_invoice() -> None:
    command = adopt_command("REF 1; reboot", invoice="INV $1")
    words = ["refundcli", "reconcile", "--adopt", "REF 1; reboot", "--reason", "REASON", "--invoice", "INV $1"]
    assert shlex.split(command) == words
    assert adopt_command("re_1Q") == "refundcli reconcile --adopt re_1Q --reason REASON"
