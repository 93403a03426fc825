"""Every exit code that the table lists for a command. All other tests check theirs against the table too."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import text

from desk import Desk, command_named_in
from left_behind import leave_it_ready
from refundcli.cli.exit_codes import ENDINGS, ExitCode
from refundcli.store.errors import CommitUnknown
from refundcli.store.read_only.books import ReadOnlyBooks
from refundcli.store.unit_of_work import SqlBooks
from tampering import tamper
from webhooks import adyen, item, settle_secrets, signed

Prepare = Callable[[Desk], str]


def written(desk: Desk, name: str, *lines: str) -> Path:
    file = desk.folder / name
    file.write_text("\n".join(lines) + "\n")
    return file


# --- what is done before, and the command -----------------------------------------------------------------------


def plain(command: str) -> Prepare:
    return lambda desk: command


def paid(command: str) -> Prepare:
    def prepare(desk: Desk) -> str:
        desk.paid_by_card()
        return command

    return prepare


def unreadable(command: str) -> Prepare:
    """A payment with a Stripe refund that the books cannot store."""

    def prepare(desk: Desk) -> str:
        refund_id = desk.sandbox.dashboard_refund(desk.paid_by_card(), 2500)
        desk.sandbox.state.refunds[refund_id].amount = -5
        return command

    return prepare


def paid_outside(command: str) -> Prepare:
    def prepare(desk: Desk) -> str:
        desk.paid_outside()
        return command

    return prepare


def unpaid(command: str) -> Prepare:
    def prepare(desk: Desk) -> str:
        desk.unpaid()
        return command

    return prepare


def with_fault(behaviour: str, command: str = "refund INV-1 --amount 40 --reason other --yes") -> Prepare:
    def prepare(desk: Desk) -> str:
        desk.paid_by_card(provider="adyen")
        desk.sandbox.faults(*[behaviour] * 9, provider="adyen", retry_after=600)
        return command

    return prepare


def left_unknown(command: str, *, hours_ago: float = 0) -> Prepare:
    """A refund at Stripe whose response was lost `ago`."""

    def prepare(desk: Desk) -> str:
        desk.paid_by_card()
        desk.sandbox.faults("drop_before")
        refund_id = desk.json("refund INV-1 --amount 40 --reason other --yes", exit_code=8)["refunds"][0]["id"]
        if hours_ago:
            long_ago(desk, hours=hours_ago)
        return command.replace("REFUND", refund_id)

    return prepare


def lost_and_failed(command: str) -> Prepare:
    """A refund at Stripe whose response was lost a day ago, and which failed there."""

    def prepare(desk: Desk) -> str:
        desk.paid_by_card()
        desk.sandbox.faults("drop_after")
        refund_id = desk.json("refund INV-1 --amount 40 --reason other --yes", exit_code=8)["refunds"][0]["id"]
        long_ago(desk, hours=24)
        desk.sandbox.settle(desk.sandbox.refunds[-1].id, status="failed", failure_reason="declined")
        return command.replace("REFUND", refund_id)

    return prepare


def long_ago(desk: Desk, *, hours: float) -> None:
    at = (datetime.now(UTC) - timedelta(hours=hours)).replace(tzinfo=None)
    with desk.books.engine.begin() as line:
        line.execute(text("UPDATE refund SET first_sent_at = :at"), {"at": at})


def ready(command: str, *, dispute: bool = False, fault: str = "") -> Prepare:
    """A refund at Adyen that was reserved and never sent."""

    def prepare(desk: Desk) -> str:
        payment = desk.paid_by_card(provider="adyen")
        leave_it_ready(desk)
        if dispute:
            settle_secrets(desk)
            line = adyen(signed(item("CHARGEBACK", originalReference=payment, pspReference="D1"))).as_line
            assert desk(f"events ingest {written(desk, 'chargeback.jsonl', line)}").exit_code == 0
        if fault:
            desk.sandbox.faults(*[fault] * 9, provider="adyen", retry_after=600)
        return command

    return prepare


def file_of_refunds(*rows: str, behaviour: str = "") -> Prepare:
    def prepare(desk: Desk) -> str:
        desk.paid_by_card()
        if behaviour:
            desk.sandbox.faults(behaviour)
        return f"refund --from {written(desk, 'refunds.csv', 'invoice,amount,reason', *rows)} --yes"

    return prepare


def file_of_marks(*rows: str) -> Prepare:
    def prepare(desk: Desk) -> str:
        desk.paid_outside()
        return f"mark-refunded --from {written(desk, 'marks.csv', 'invoice,amount,reason', *rows)} --yes"

    return prepare


def open_at_stripe(command: str, behaviour: str = "") -> Prepare:
    def prepare(desk: Desk) -> str:
        stripe_invoice = desk.sandbox.invoice("100.00 EUR", number="INV-3", status="open")
        desk.unpaid("INV-3", invoice_reference=stripe_invoice.id)
        if behaviour:
            desk.sandbox.faults(*[behaviour] * 9, call="invoice", retry_after=600)
        return command

    return prepare


INVOICES = "number,customer,currency,total,status,issued_on"


def imported(*rows: str, options: str = "") -> Prepare:
    return lambda desk: f"invoice import {written(desk, 'invoices.csv', INVOICES, *rows)} {options}".strip()


def external(command: str) -> Prepare:
    """A dashboard refund in the books; its Stripe id."""

    def prepare(desk: Desk) -> str:
        refund_id = desk.sandbox.dashboard_refund(desk.paid_by_card(), 3000)
        desk("reconcile")
        return command.replace("REFUND", refund_id)

    return prepare


def stored_before_import(command: str) -> Prepare:
    """An event with an unlisted code, about a payment imported after it."""

    def prepare(desk: Desk) -> str:
        settle_secrets(desk)
        payment = desk.sandbox.charge("100.00 EUR", provider="adyen").reference
        line = adyen(signed(item("UNLISTED", originalReference=payment, pspReference="U1"))).as_line
        assert desk(f"events ingest {written(desk, 'unlisted.jsonl', line)}").exit_code == 0
        desk.paid_by_card(provider="adyen", reference=payment)
        return command

    return prepare


def delivered(*refunds: tuple[str, str], key: str = "") -> Prepare:
    def prepare(desk: Desk) -> str:
        settle_secrets(desk)
        payment = desk.paid_by_card(provider="adyen")
        items = [signed(item(code, originalReference=payment, pspReference=ref)) for code, ref in refunds]
        lines = [adyen(entry).as_line if not key else adyen(signed(entry, key)).as_line for entry in items]
        return f"events ingest {written(desk, 'deliveries.jsonl', *lines)}"

    return prepare


def unreviewed(command: str) -> Prepare:
    def prepare(desk: Desk) -> str:
        assert desk(delivered(("SOMETHING_NEW", "N1"))(desk)).exit_code == 8
        return command

    return prepare


def failed_late(command: str) -> Prepare:
    def prepare(desk: Desk) -> str:
        desk.paid_by_card()
        refund_id = desk.json("refund INV-1 --full --reason other --yes")["refunds"][0]["id"]
        desk.sandbox.settle(desk.sandbox.refunds[-1].id, status="failed", failure_reason="declined")
        desk("reconcile")
        return command.replace("REFUND", refund_id)

    return prepare


def recorded(command: str) -> Prepare:
    def prepare(desk: Desk) -> str:
        desk.paid_outside()
        note = desk.json("mark-refunded INV-2 --full --reason other --yes")["refunds"][0]["credit_note"]["number"]
        return command.replace("NOTE", note)

    return prepare


def exported(options: str) -> Prepare:
    def prepare(desk: Desk) -> str:
        return recorded(f"credit-notes export {options} --to {desk.folder}")(desk)

    return prepare


def unreachable(command: str) -> Prepare:
    def prepare(desk: Desk) -> str:
        desk.paid_by_card()
        desk.environ["REFUNDCLI_STRIPE_API_BASE"] = "http://127.0.0.1:9"
        return command

    return prepare


def refund_unreachable(command: str) -> Prepare:
    def prepare(desk: Desk) -> str:
        desk.paid_by_card()
        refund_id = desk.json("refund INV-1 --amount 1 --reason other --yes")["refunds"][0]["id"]
        return unreachable(command.replace("REFUND", refund_id))(desk)

    return prepare


def anchored(command: str) -> Prepare:
    def prepare(desk: Desk) -> str:
        desk.paid_by_card()
        desk.environ |= {"REFUNDCLI_AUDIT_KEY": "env:AUDIT_KEY", "AUDIT_KEY": "5f" * 32}
        return command

    return prepare


def tampered(command: str) -> Prepare:
    def prepare(desk: Desk) -> str:
        desk.paid_by_card()
        tamper(desk.books.engine, "UPDATE invoice SET customer = 'Mallory'")
        return command

    return prepare


def shown_plan(desk: Desk) -> str:
    desk.paid_by_card()
    desk(f"{PLAN.replace('--dry-run', '')} --out {desk.folder / 'shown.json'}")
    return f"plan show {desk.folder / 'shown.json'}"


def shown_run(desk: Desk) -> str:
    desk.paid_outside("INV-2")
    desk(file_of_marks("INV-2,1.00,other")(desk))
    return f"runs show {desk.json('runs list')[0]['id']}"


def two_refunds_with_trace_number_7(desk: Desk) -> str:
    desk.paid_by_card()
    for amount in (1, 2):
        refund = desk.json(f"refund INV-1 --amount {amount} --reason other --yes")["refunds"][0]
        desk.sandbox.settle(refund["provider_reference"], destination_details={"card": {"reference": "7"}})
    desk.json("invoice show INV-1 --refresh")
    return "refunds show 7"


def settings_file_here(desk: Desk) -> str:
    Path("refundcli.toml").write_text("[refunds]\nin_flight = 4\n")
    return "config trust"


def file_of_closings(command: str) -> Prepare:
    return lambda desk: f"{command} --from {written(desk, 'close.csv', 'invoice', 'INV-9')} --yes"


# --- the pairs --------------------------------------------------------------------------------------------------

E = ExitCode
FULL, MARK = "refund INV-1 --full --reason other --yes", "mark-refunded INV-2 --full --reason other --yes"
PLAN = "plan make --provider stripe --full --reason other --dry-run"
# The first DONE of a command is also used where any command is tried.
PAIRS: list[tuple[str, ExitCode, Prepare]] = [
    ("init", E.USAGE, plain("init --nonsense")),
    ("invoice import", E.DONE, imported("I-1,c,EUR,10.00,open,2026-09-01")),
    ("invoice import", E.REFUSED, imported("I-1,c,EUR,ten,open,2026-09-01")),
    (
        "invoice import",
        E.PARTLY,
        imported("I-1,c,EUR,10.00,open,2026-09-01", "I-2,c,EUR,ten,open,2026-09-01", options="--skip-invalid"),
    ),
    ("invoice pull", E.DONE, plain("invoice pull stripe")),
    ("invoice pull", E.REFUSED, plain("invoice pull adyen")),
    ("invoice pull", E.NOT_FOUND, plain("invoice pull stripe --number in_none")),
    ("invoice pull", E.NOT_SENT, unreachable("invoice pull stripe")),
    ("invoice show", E.NOT_SENT, unreachable("invoice show INV-1 --refresh")),
    ("reconcile", E.NOT_SENT, unreachable("reconcile")),
    ("invoice list", E.DONE, plain("invoice list")),
    ("invoice show", E.DONE, paid("invoice show INV-1")),
    ("invoice show", E.REFUSED, unreadable("invoice show INV-1 --refresh")),
    ("invoice show", E.NOT_FOUND, plain("invoice show INV-1")),
    ("invoice history", E.DONE, paid("invoice history INV-1")),
    ("invoice history", E.NOT_FOUND, plain("invoice history INV-1")),
    ("find", E.DONE, plain("find osei")),
    ("refund", E.DONE, paid(FULL)),
    ("refund", E.USAGE, paid("refund INV-1 --full --reason other")),
    ("refund", E.REFUSED, paid_outside("refund INV-2 --full --reason other --yes")),
    ("refund", E.NOT_FOUND, plain(FULL)),
    ("refund", E.DECLINED, with_fault("400")),
    ("refund", E.NOT_SENT, with_fault("429")),
    ("refund", E.OUTCOME_UNKNOWN, with_fault("drop_before")),
    ("refund", E.PARTLY, file_of_refunds("INV-1,40.00,other", "INV-9,40.00,other")),
    ("refund", E.OUTCOME_UNKNOWN, file_of_refunds("INV-1,40.00,other", behaviour="drop_before")),
    ("refund", E.DONE, file_of_refunds("INV-1,40.00,other")),
    ("mark-refunded", E.DONE, paid_outside(MARK)),
    ("mark-refunded", E.REFUSED, paid("mark-refunded INV-1 --full --reason other --yes")),
    ("mark-refunded", E.NOT_FOUND, plain(MARK)),
    ("mark-refunded", E.PARTLY, file_of_marks("INV-2,40.00,other", "INV-9,40.00,other")),
    ("void", E.DONE, unpaid("void INV-3 --yes")),
    ("void", E.REFUSED, paid("void INV-1 --yes")),
    ("void", E.NOT_FOUND, plain("void INV-3 --yes")),
    ("void", E.DECLINED, open_at_stripe("void INV-3 --yes", "400")),
    ("void", E.NOT_SENT, open_at_stripe("void INV-3 --yes", "429")),
    ("void", E.OUTCOME_UNKNOWN, open_at_stripe("void INV-3 --yes", "drop_before")),
    ("uncollectible", E.DONE, unpaid("uncollectible INV-3 --yes")),
    ("uncollectible", E.REFUSED, paid("uncollectible INV-1 --yes")),
    ("uncollectible", E.NOT_FOUND, plain("uncollectible INV-3 --yes")),
    ("uncollectible", E.DECLINED, open_at_stripe("uncollectible INV-3 --yes", "400")),
    ("uncollectible", E.NOT_SENT, open_at_stripe("uncollectible INV-3 --yes", "429")),
    ("uncollectible", E.OUTCOME_UNKNOWN, open_at_stripe("uncollectible INV-3 --yes", "drop_before")),
    ("void", E.PARTLY, file_of_closings("void")),
    ("uncollectible", E.PARTLY, file_of_closings("uncollectible")),
    ("plan make", E.DONE, paid(PLAN)),
    ("plan show", E.DONE, shown_plan),
    ("plan show", E.REFUSED, lambda desk: f"plan show {written(desk, 'plan.json', 'edited')}"),
    ("plan make", E.PARTLY, unreviewed(PLAN.replace("stripe", "adyen"))),
    ("status", E.DONE, paid("status")),
    ("status", E.OUTCOME_UNKNOWN, left_unknown("status")),
    ("resume", E.DONE, left_unknown("resume")),
    ("resume", E.REFUSED, ready("resume --yes", dispute=True)),
    ("resume", E.NOT_FOUND, plain("resume rf_none")),
    ("resume", E.DECLINED, ready("resume --yes", fault="400")),
    ("resume", E.NOT_SENT, ready("resume --yes", fault="429")),
    ("resume", E.OUTCOME_UNKNOWN, left_unknown("resume", hours_ago=24)),
    ("resolve", E.DONE, left_unknown("resolve REFUND --not-executed --evidence x --yes", hours_ago=24)),
    ("resolve", E.REFUSED, left_unknown("resolve REFUND --not-executed --evidence x --yes")),
    ("resolve", E.DECLINED, lost_and_failed("resolve REFUND --not-executed --evidence x --yes")),
    ("resolve", E.NOT_FOUND, plain("resolve rf_none --not-executed --evidence x --yes")),
    ("reconcile", E.DONE, paid("reconcile")),
    ("reconcile", E.REFUSED, paid_outside("reconcile --provider adyen")),
    ("reconcile", E.NOT_FOUND, plain("reconcile --invoice INV-1")),
    ("reconcile", E.OUTCOME_UNKNOWN, left_unknown("reconcile")),
    ("reconcile", E.DONE, external("reconcile --adopt REFUND --reason other")),
    ("events ingest", E.DONE, delivered(("CAPTURE", "C1"))),
    ("events ingest", E.REFUSED, delivered(("CAPTURE", "C1"), key=b"forged".hex())),
    ("events ingest", E.OUTCOME_UNKNOWN, delivered(("CAPTURE", "C1"), ("UNLISTED", "U1"))),
    ("events apply", E.DONE, plain("events apply")),
    ("events apply", E.OUTCOME_UNKNOWN, stored_before_import("events apply")),
    ("events list", E.DONE, plain("events list")),
    ("events show", E.DONE, unreviewed("events show 1")),
    ("events list", E.NOT_FOUND, plain("events list --about rf_none")),
    ("events show", E.NOT_FOUND, plain("events show 1")),
    ("events acknowledge", E.DONE, unreviewed("events acknowledge 1 --memo reviewed")),
    (
        "events acknowledge",
        E.REFUSED,
        lambda desk: "events acknowledge 1" if desk(delivered(("CAPTURE", "C1"))(desk)).exit_code == 0 else "",
    ),
    ("events acknowledge", E.NOT_FOUND, plain("events acknowledge 1")),
    ("acknowledge", E.DONE, failed_late("acknowledge REFUND --yes")),
    ("acknowledge", E.REFUSED, paid("acknowledge INV-1 --yes")),
    ("acknowledge", E.NOT_FOUND, plain("acknowledge rf_none --yes")),
    ("refunds list", E.DONE, plain("refunds list")),
    ("refunds list", E.REFUSED, plain("refunds list --reason nonsense")),
    ("refunds list", E.NOT_FOUND, plain("refunds list --invoice INV-1")),
    ("refunds show", E.DONE, recorded("refunds show NOTE")),
    ("refunds show", E.REFUSED, two_refunds_with_trace_number_7),
    ("refunds show", E.NOT_SENT, refund_unreachable("refunds show REFUND --refresh")),
    ("refunds show", E.NOT_FOUND, plain("refunds show rf_none")),
    ("runs list", E.DONE, plain("runs list")),
    ("runs list", E.NOT_FOUND, plain("runs list --after run_none")),
    ("runs show", E.DONE, shown_run),
    ("runs show", E.NOT_FOUND, plain("runs show run_none")),
    ("credit-notes list", E.DONE, plain("credit-notes list")),
    ("credit-notes list", E.REFUSED, plain("credit-notes list --reason nonsense")),
    ("credit-notes list", E.NOT_FOUND, plain("credit-notes list --invoice INV-1")),
    ("credit-notes show", E.DONE, recorded("credit-notes show NOTE")),
    ("credit-notes show", E.NOT_FOUND, plain("credit-notes show CN-1")),
    ("credit-notes export", E.DONE, exported("NOTE")),
    ("credit-notes export", E.REFUSED, exported("NOTE --format xml")),
    ("credit-notes export", E.NOT_FOUND, exported("CN-1")),
    ("store number-format", E.DONE, plain("store number-format R-{seq}")),
    ("store upgrade", E.DONE, plain("store upgrade --timezone Europe/Paris --force")),
    ("store clock", E.DONE, plain("store clock --accept")),
    ("store backup", E.DONE, lambda desk: f"store backup {desk.folder / 'copy.db'}"),
    ("audit list", E.DONE, plain("audit list")),
    ("audit list", E.NOT_FOUND, plain("audit list --invoice INV-99")),
    ("audit verify", E.DONE, plain("audit verify")),
    ("audit verify", E.REFUSED, tampered("audit verify")),
    ("audit export", E.DONE, plain("audit export audit.jsonl")),
    ("audit anchor", E.DONE, anchored("audit anchor --to outside.anchors")),
    ("store check", E.DONE, plain("store check")),
    ("store check", E.REFUSED, tampered("store check")),
    ("formats list", E.DONE, plain("formats list")),
    ("formats show", E.DONE, plain("formats show stripe-payments")),
    ("config", E.DONE, plain("config")),
    ("config trust", E.DONE, settings_file_here),
    ("completion", E.DONE, plain("completion bash")),
    ("completion", E.USAGE, plain("completion tcsh")),
    ("sandbox", E.USAGE, plain("sandbox --port none")),
    ("help", E.DONE, plain("help exit-codes")),
    ("help", E.USAGE, plain("help refnd")),
    ("events listen", E.USAGE, plain("events listen --port none")),
]


@pytest.mark.parametrize(("name", "code", "prepare"), PAIRS, ids=[f"{name} {code.value}" for name, code, _ in PAIRS])
def test_a_command_ends_with_its_code(sqlite_desk: Desk, name: str, code: ExitCode, prepare: Prepare) -> None:
    command = prepare(sqlite_desk)
    answer = sqlite_desk(command)
    assert (command_named_in(command.split()), answer.exit_code) == (name, code), (command, answer)


# Writing commands without a provider: the outcome of the last commit may be unknown.
WRITING = (
    "invoice import",
    "invoice pull",
    "mark-refunded",
    "resolve",
    "reconcile",
    "events ingest",
    "events acknowledge",
    "acknowledge",
    "store number-format",
    "store upgrade",
    "store clock",
)


@pytest.mark.parametrize("name", WRITING)
def test_a_commit_that_is_not_confirmed_is_not_known(
    sqlite_desk: Desk, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    prepare = next(prepare for named, code, prepare in PAIRS if (named, code) == (name, E.DONE))
    command = prepare(sqlite_desk)

    def not_confirmed(*_: object) -> None:
        raise CommitUnknown("the disk is gone")

    monkeypatch.setattr(SqlBooks, "_commit", not_confirmed)
    answer = sqlite_desk(command)
    assert (answer.exit_code, "[commit-unknown]" in answer.err) == (8, True), answer


# An unconfirmed commit, of commands that write only if needed.
NOT_TRIED = {
    ("invoice show", E.OUTCOME_UNKNOWN),
    ("refunds show", E.OUTCOME_UNKNOWN),
    # Where the store's file cannot be copied: tests/integration/test_store_check.py.
    ("store check", E.OUTCOME_UNKNOWN),
    # For an unfinished run without a worker: tests/e2e/test_status_summary.py.
    ("resume", E.PARTLY),
}


def test_every_pair_of_the_table_is_tried() -> None:
    covered = {(name, code) for name, code, _ in PAIRS} | {(name, E.OUTCOME_UNKNOWN) for name in WRITING}
    table = {(name, code) for name, codes in ENDINGS.items() for code in codes}
    assert table - covered == NOT_TRIED
    assert {name for name, _ in covered} == set(ENDINGS)


# --- codes that any command may end with --------------------------------------------------------------------------


WITHOUT_A_STORE = (
    "init",
    "config",
    "config trust",
    "formats list",
    "formats show",
    "completion",
    "help",
    "sandbox",
    "events listen",
)


@pytest.mark.parametrize("name", [name for name in ENDINGS if name not in WITHOUT_A_STORE])
def test_any_command_ends_with_4_where_the_store_cannot_be_used(sqlite_desk: Desk, name: str) -> None:
    prepare = next(prepare for named, code, prepare in PAIRS if named == name and code is not E.USAGE)
    command = prepare(sqlite_desk)
    sqlite_desk.environ["REFUNDCLI_STORE_URL"] = f"sqlite:///{sqlite_desk.folder}"
    answer = sqlite_desk(command)
    assert answer.exit_code == 4, answer


@pytest.mark.parametrize("name", list(ENDINGS))
def test_any_command_ends_with_2_where_its_line_cannot_be_used(sqlite_desk: Desk, name: str) -> None:
    assert sqlite_desk(f"{name} --nonsense").exit_code == 2


def test_an_interrupted_command_ends_with_130(sqlite_desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    for books in (SqlBooks, ReadOnlyBooks):
        monkeypatch.setattr(books, "read", interrupt)
    for command in ("status", "invoice list", "reconcile", "void INV-3 --yes"):
        assert sqlite_desk(command).exit_code == 130
