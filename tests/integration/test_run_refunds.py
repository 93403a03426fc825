"""Many refunds in one run: each row once, none in another's way, and a stop that loses nothing."""

import pytest

from desk import Desk
from refundcli.domain.bulk_run import RunState
from refundcli.store.checking import findings
from runs import Runner, Wish


@pytest.fixture
def runner(desk: Desk) -> Runner:
    desk.environ |= {"REFUNDCLI_REFUNDS_STRIPE_RATE": "0", "REFUNDCLI_REFUNDS_ADYEN_RATE": "0"}
    return Runner(desk)


def paid(desk: Desk, count: int, *, amount: str = "100.00 EUR", provider: str = "stripe", start: int = 1) -> list[str]:
    """Invoices paid by card; the references of their payments."""
    return [desk.paid_by_card(f"INV-{n}", amount, provider=provider) for n in range(start, start + count)]


def wishes(count: int, expected: str = "100.00 EUR", amount: str = "") -> list[Wish]:
    return [Wish(f"INV-{n}", expected, amount) for n in range(1, count + 1)]


def test_every_row_is_refunded_once(runner: Runner, desk: Desk) -> None:
    references = [*paid(desk, 12), *paid(desk, 8, provider="adyen", start=13)]
    run = runner.stage(*wishes(20))
    report = runner.work(run)
    assert (report.done, report.refused, report.unknown, report.stopped) == (20, 0, 0, None)
    assert [desk.refunded_at_provider(reference) for reference in references] == [[10_000]] * 20
    assert str(report.totals["EUR"]) == "2000.00 EUR"
    assert (report.state, runner.run_state(run)) == (RunState.FINISHED, RunState.FINISHED)
    assert sorted(item.n for item, _ in runner.told) == list(range(1, 21))
    assert desk.invoice("INV-1").refunds[0].run_id == run.id
    assert findings(desk.books) == []
