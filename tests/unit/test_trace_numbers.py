"""The trace number of a refund, by reports in any order."""

from itertools import permutations

from refundcli.domain.refund import TraceNumber

PENDING = TraceNumber("card", "acquirer_reference_number", "", "pending")
AVAILABLE = TraceNumber("card", "acquirer_reference_number", "74", "available")
UNAVAILABLE = TraceNumber("card", "acquirer_reference_number", "", "unavailable")


def stored_after(*reports: TraceNumber) -> TraceNumber:
    stored, *later_reports = reports
    for report in later_reports:
        stored = stored if stored.outdates(report) else report
    return stored


def test_a_known_number_is_never_taken_back() -> None:
    for order in permutations([PENDING, AVAILABLE, UNAVAILABLE]):
        assert stored_after(*order) == AVAILABLE


def test_a_final_status_is_never_pending_again() -> None:
    for final in (UNAVAILABLE, TraceNumber("card", "", "", "sent_by_pigeon")):
        assert stored_after(PENDING, final) == stored_after(final, PENDING) == final
