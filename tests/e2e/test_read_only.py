"""--read-only: nothing is changed, and no key is loaded that could move money."""

import pytest

from desk import Desk


@pytest.mark.parametrize(
    "command", ["refund INV-1 --full --reason other --yes", "void INV-1 --yes", "resume", "store clock --accept"]
)
def test_what_would_change_the_books_is_refused(desk: Desk, command: str) -> None:
    reference = desk.paid_by_card()
    entries = desk.count("audit_entry")
    desk.refused(f"--read-only {command}", "read-only", exit_code=2)
    desk.refused(f"{command} --read-only", "read-only", exit_code=2)
    assert (desk.count("audit_entry"), desk.refunded_at_provider(reference)) == (entries, [])


@pytest.mark.parametrize("command", ["invoice list", "invoice show INV-1", "status", "store check", "audit verify"])
def test_what_only_reads_is_answered(desk: Desk, command: str) -> None:
    desk.paid_by_card()
    assert desk(f"--read-only {command}").exit_code == 0


def test_the_environment_can_forbid_changes_too(desk: Desk) -> None:
    reference = desk.paid_by_card()
    desk.environ["REFUNDCLI_READ_ONLY"] = "1"
    assert desk("invoice show INV-1").exit_code == 0
    desk.refused("refund INV-1 --full --reason other --yes", "read-only", exit_code=2)
    assert desk.refunded_at_provider(reference) == []


def test_no_providers_key_is_loaded(desk: Desk) -> None:
    desk.paid_by_card()
    desk.environ["REFUNDCLI_STRIPE_API_KEY"] = "file:/nowhere/at/all"
    assert desk("--read-only invoice show INV-1").exit_code == 0
    requests = len(desk.sandbox.requests)
    desk("--read-only refund INV-1 --full --reason other --dry-run")
    assert len(desk.sandbox.requests) == requests
