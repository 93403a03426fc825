"""Check a store: recompute every sum and verify every seal (I1, I9, I10).

Each page of rows is read in a transaction of its own, so no refund waits for longer than one page takes, and memory
does not grow with the store. A problem is checked a second time before it is reported.
"""

# ruff: noqa: S608 - the parts of each query are constants of this program

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from sqlalchemy import Connection, text

from refundcli.store.checks.audited_rows import AuditFindings, Look, audit_findings
from refundcli.store.checks.number_series import number_problems
from refundcli.store.checks.page_size import PageSize
from refundcli.store.checks.sqlite_pages import structure_errors
from refundcli.store.conditions import CAPTURED, TAKEN_BY_DISPUTES
from refundcli.store.databases.connection_rows import ConnectionRows
from refundcli.store.errors import StoreCorrupt, StructureNotChecked
from refundcli.store.queries.payments import disputes_by_payment
from refundcli.store.queries.refunds import refunds_of_payments
from refundcli.store.share_counting import share_rows, sums_of, taken_by_disputes
from refundcli.store.unit_of_work import SqlBooks

# A refund reserves its amount until it has an outcome, and after a failure that the provider may retry (R14).
_HELD = "r.state IN ('ready','submitted','awaiting-approval','pending') OR r.holding"
# An external one also reserves it until someone decides whether it was recorded by hand.
_HELD_ELSEWHERE = "r.holding OR r.undecided AND r.state IN ('pending','succeeded')"
# What counts as refunded when a part was returned.
_COUNTED = "r.amount - r.reversed_amount"
_HAS = "EXISTS (SELECT 1 FROM dispute d WHERE d.payment_id = coalesce(p.share_of, p.id) AND d.state = '{}')"
# For shares of one payment these sums are computed from all shares together.
_ALONE = "p.share_of IS NULL"

# One page of a table, by its key.
_PAGE = "id > :after AND id <= :upto"
_PAGE_OF_P, _PAGE_OF_R, _PAGE_OF_C = (f"{of}.id > :after AND {of}.id <= :upto" for of in ("p", "r", "c"))

# Each query finds the rows that break one rule. It must read its page by the key of the table, and no other index:
# with an index on the status, each page would read all paid invoices.
_OF_PAYMENTS = {
    "payment {}: the reserved amount does not match its refunds": f"""
        SELECT p.id FROM payment p WHERE {_PAGE_OF_P} AND {_ALONE} AND (p.reserved < (
            SELECT coalesce(sum({_COUNTED}), 0) FROM refund r
            WHERE r.payment_id = p.id AND r.kind <> 'external' AND ({_HELD}))
        OR p.reserved > (
            SELECT coalesce(sum({_COUNTED}), 0) FROM refund r
            WHERE r.payment_id = p.id AND (r.kind <> 'external' AND ({_HELD})
                OR r.kind = 'external' AND ({_HELD_ELSEWHERE}))))""",
    "payment {}: the refunded amount does not match its refunds": f"""
        SELECT p.id FROM payment p WHERE {_PAGE_OF_P} AND p.refunded <> (
            SELECT coalesce(sum({_COUNTED}), 0) FROM refund r
            WHERE r.payment_id = p.id AND r.kind <> 'external' AND r.state IN ('succeeded','recorded'))""",
    "payment {}: the amount refunded externally does not match its external refunds": f"""
        SELECT p.id FROM (
            SELECT p.id, p.returned_elsewhere, p.opening_returned, (
                SELECT coalesce(sum({_COUNTED}), 0) FROM refund r
                WHERE r.payment_id = p.id AND r.kind = 'external' AND NOT r.undecided
                    AND r.state IN ('pending','succeeded')) AS seen
            FROM payment p WHERE {_PAGE_OF_P} AND {_ALONE}) p
        WHERE p.returned_elsewhere < p.opening_returned OR p.returned_elsewhere < p.seen
            OR p.returned_elsewhere > p.opening_returned + p.seen""",
    "payment {}: the dispute state does not match its disputes": f"""
        SELECT p.id FROM payment p WHERE {_PAGE_OF_P} AND p.dispute <> CASE
            WHEN {_HAS.format("unknown")} THEN 'unknown'
            WHEN {_HAS.format("open")} THEN 'open'
            WHEN {_HAS.format("lost")} THEN 'lost'
            WHEN {_HAS.format("won")} THEN 'won'
            ELSE '' END""",
    "payment {}: the lost amount does not match its lost disputes": f"""
        SELECT id FROM payment WHERE {_PAGE} AND share_of IS NULL
            AND lost <> CASE WHEN {TAKEN_BY_DISPUTES} > dispute_recorded
                THEN {TAKEN_BY_DISPUTES} - dispute_recorded ELSE 0 END""",
    "payment {}: more chargebacks are counted than recorded": f"""
        SELECT p.id FROM payment p WHERE {_PAGE_OF_P} AND (p.dispute_recorded < 0 OR p.dispute_recorded > (
            SELECT coalesce(sum(r.amount), 0) FROM refund r WHERE r.payment_id = p.id
                AND r.kind = 'record' AND r.state = 'recorded' AND r.reason = 'chargeback'))""",
    # Disputes that were won after all, or lost less than was recorded, are reported when that happens.
    "payment {}: more is recorded as chargebacks than its lost disputes took": f"""
        SELECT id FROM payment WHERE {_PAGE} AND share_of IS NULL AND dispute_recorded > 0
            AND dispute_recorded <= {TAKEN_BY_DISPUTES} AND {TAKEN_BY_DISPUTES} < (
                SELECT coalesce(sum(r.amount), 0) FROM refund r WHERE r.payment_id = payment.id
                    AND r.kind = 'record' AND r.state = 'recorded' AND r.reason = 'chargeback'
                    AND r.after_failed IS NULL)""",
    "payment {}: its first share is missing or has no id": f"""
        SELECT p.id FROM payment p LEFT JOIN payment f ON f.id = p.share_of
        WHERE {_PAGE_OF_P} AND p.share_of IS NOT NULL
            AND (f.id IS NULL OR f.share_of IS NULL OR f.share_of <> f.id OR f.provider <> p.provider
                OR coalesce(f.payment_intent, f.charge, f.psp_reference) IS NULL)""",
    "payment {}: only the first share may have an id": f"""
        SELECT p.id FROM payment p WHERE {_PAGE_OF_P} AND p.share_of IS NOT NULL AND p.share_of <> p.id
            AND coalesce(p.payment_intent, p.charge, p.psp_reference) IS NOT NULL""",
    "payment {}: the captured amount differs from that of its first share": f"""
        SELECT p.id FROM payment p JOIN payment f ON f.id = p.share_of
        WHERE {_PAGE_OF_P} AND coalesce(p.captured, -1) <> coalesce(f.captured, -1)""",
    "payment {}: the dispute does not belong to the first share": f"""
        SELECT DISTINCT p.id FROM dispute d JOIN payment p ON p.id = d.payment_id
        WHERE {_PAGE_OF_P} AND p.share_of IS NOT NULL AND p.share_of <> p.id""",
}
_OF_INVOICES = {
    "invoice {}: the sums do not match its payments": f"""
        SELECT i.number FROM invoice i LEFT JOIN payment p ON p.invoice_id = i.id
        WHERE i.id > :after AND i.id <= :upto GROUP BY i.id, i.number, i.paid, i.returned
        HAVING i.paid <> coalesce(sum({CAPTURED}), 0)
            OR i.returned <> coalesce(sum(p.refunded + p.returned_elsewhere), 0)""",
    "invoice {}: the status is paid, but all of it was returned": f"""
        SELECT number FROM invoice WHERE {_PAGE}
            AND CASE WHEN status = 'paid' THEN paid > 0 AND returned >= paid ELSE FALSE END""",
}
_OF_REFUNDS = {
    "refund {}: the amount is reserved in a state that reserves nothing": f"""
        SELECT id FROM refund WHERE {_PAGE} AND (holding AND state <> 'failed' OR undecided AND kind <> 'external')""",
    "refund {}: the reversed part is as large as the refund": f"""
        SELECT id FROM refund WHERE {_PAGE} AND (reversed_amount < 0 OR reversed_amount >= amount)""",
    "refund {} has no credit note": f"""
        SELECT r.id FROM refund r LEFT JOIN credit_note c ON c.refund_id = r.id
        WHERE {_PAGE_OF_R} AND c.id IS NULL AND (r.kind <> 'external' OR r.reason <> '')""",
    "refund {}: the credit note does not match the refund": f"""
        SELECT r.id FROM refund r JOIN credit_note c ON c.refund_id = r.id
        WHERE {_PAGE_OF_R} AND ((r.state IN ('pending','succeeded','recorded')) <> (c.status = 'issued')
            OR (r.state IN ('ready','submitted','awaiting-approval')) <> (c.status = 'draft') OR r.amount <> c.amount
            OR (r.state IN ('succeeded','recorded') AND c.number IS NULL))""",
    "refund {} was sent without a key or a request": f"""
        SELECT id FROM refund WHERE {_PAGE} AND kind = 'provider' AND (idempotency_key IS NULL OR request IS NULL)""",
}
_OF_CLOSINGS = {
    "closing {} was sent without a key or an address": f"""
        SELECT id FROM closing WHERE {_PAGE} AND (idempotency_key = '' OR endpoint = '')""",
    # A payment reported later may have changed the invoice's status.
    "closing {}: done, but the invoice is not closed": f"""
        SELECT c.id FROM closing c JOIN invoice i ON i.id = c.invoice_id
        WHERE {_PAGE_OF_C} AND c.state = 'done' AND i.paid = 0 AND CASE i.status
            WHEN 'draft' THEN TRUE WHEN 'open' THEN TRUE WHEN 'uncollectible' THEN c.action = 'void' ELSE FALSE END""",
    "closing {}: the audit entries do not match its changes": f"""
        SELECT c.id FROM closing c LEFT JOIN audit_entry a ON a.subject = c.id
        WHERE {_PAGE_OF_C} GROUP BY c.id, c.fence, c.state
        HAVING sum(CASE WHEN a.action = 'closing ready' THEN 1 ELSE 0 END) <> 1
            OR sum(CASE WHEN a.action = 'closing submitted' THEN 1 ELSE 0 END) <> c.fence
            OR sum(CASE WHEN a.action = 'closing done' THEN 1 ELSE 0 END)
                <> CASE WHEN c.state = 'done' THEN 1 ELSE 0 END
            OR sum(CASE WHEN a.action = 'closing failed' THEN 1 ELSE 0 END)
                <> CASE WHEN c.state = 'failed' THEN 1 ELSE 0 END""",
}

_CHECKS: Mapping[str, Mapping[str, str]] = {
    "payment": _OF_PAYMENTS,
    "invoice": _OF_INVOICES,
    "refund": _OF_REFUNDS,
    "closing": _OF_CLOSINGS,
}
# Before the first key of each table.
_FIRST: Mapping[str, int | str] = {"payment": -1, "invoice": -1, "refund": "", "closing": ""}


@dataclass(slots=True)
class StoreReport:
    """`problems`: what contradicts itself or cannot be read, one sentence each; `audit`: what the audit trail says."""

    problems: list[str] = field(default_factory=list)
    audit: AuditFindings = field(default_factory=AuditFindings)


def findings(books: SqlBooks) -> list[str]:
    """What is wrong with a store, one sentence per problem. Raises StructureNotChecked as `check` does."""
    report = check(books)
    return report.audit.sentences + report.problems


def check(books: SqlBooks) -> StoreReport:
    """Check every part of a store, as far as it can be read.

    Raises StructureNotChecked if the file could not be copied for SQLite's own check.
    """
    report = StoreReport()
    copy_failure: StructureNotChecked | None = None
    try:
        # One at a time: what was found so far counts even if the next part is unreadable.
        try:
            for sentence in structure_errors(books):
                report.problems.append(sentence)
        except StructureNotChecked as error:
            copy_failure = error
        report.audit = audit_findings(books.inspect)
        for sentence in _unsound(books.inspect):
            report.problems.append(sentence)
    except StoreCorrupt as error:
        report.problems.append(f"the database cannot be read: {error.what}")
    except (ValueError, TypeError) as error:
        report.problems.append(f"a value in it cannot be read: {error}")
    if copy_failure and not report.problems and not report.audit.sentences:
        raise copy_failure
    return report


def _unsound(run_read: Look[Any]) -> Iterator[str]:
    for table in _CHECKS:
        yield from _rows(run_read, table)
    yield from _shares(run_read)
    yield from number_problems(run_read)


def _rows(run_read: Look[Any], table: str) -> Iterator[str]:
    after_id, page_size = _FIRST[table], PageSize()
    while True:
        last_id, problems = run_read(partial(_wrong_rows, table=table, after_id=after_id, page_size=page_size))
        if last_id is None:
            return
        if problems:
            # In a transaction of its own: a real problem is still there.
            _, confirmed_problems = run_read(partial(_wrong_rows, table=table, after_id=after_id, last_id=last_id))
            yield from (sentence for sentence in problems if sentence in set(confirmed_problems))
        after_id = last_id


def _wrong_rows(
    connection: Connection,
    *,
    table: str,
    after_id: int | str,
    page_size: "PageSize | None" = None,
    last_id: int | str | None = None,
) -> tuple[int | str | None, list[str]]:
    """The last key of the page (None at the end of the table), and what is wrong with its rows."""
    if page_size:
        with page_size.timed() as row_count:
            last_id_query = (
                f"SELECT max(id) FROM (SELECT id FROM {table} WHERE id > :after ORDER BY id LIMIT :limit) page"
            )
            last_id = connection.execute(text(last_id_query), {"after": after_id, "limit": row_count}).scalar()
            return last_id, [] if last_id is None else _wrong_rows(
                connection, table=table, after_id=after_id, last_id=last_id
            )[1]
    id_range = {"after": after_id, "upto": last_id}
    return last_id, [
        problem_format.format(id_or_number)
        for problem_format, query in _CHECKS[table].items()
        for (id_or_number,) in connection.execute(text(query), id_range)
    ]


def _shares(run_read: Look[Any]) -> Iterator[str]:
    """Recompute what counts against each share of a payment."""
    after_id, page_size = -1, PageSize()
    while True:
        first_share_ids: list[int] = run_read(partial(_shared, after_id=after_id, page_size=page_size))
        if not first_share_ids:
            return
        for first_share_id in first_share_ids:
            problems = run_read(partial(_wrong_shares, first_share_id=first_share_id))
            if problems:
                confirmed_problems = run_read(partial(_wrong_shares, first_share_id=first_share_id))
                yield from (sentence for sentence in problems if sentence in confirmed_problems)
        after_id = first_share_ids[-1]


def _shared(connection: Connection, *, after_id: int, page_size: "PageSize") -> list[int]:
    query = "SELECT DISTINCT share_of FROM payment WHERE share_of > :after ORDER BY share_of LIMIT :limit"
    with page_size.timed() as row_count:
        return list(connection.execute(text(query), {"after": after_id, "limit": row_count}).scalars())


def _wrong_shares(connection: Connection, *, first_share_id: int) -> list[str]:
    shares = share_rows(connection, first_share_id)
    if all(share.id != first_share_id for share in shares):
        return []  # reported above
    rows = ConnectionRows(connection)
    refunds = refunds_of_payments(rows, [share.id for share in shares])
    disputes = disputes_by_payment(rows, [first_share_id]).get(first_share_id, [])
    disputed_minor, counted_minor = taken_by_disputes(shares, disputes), sum(share.dispute_recorded for share in shares)
    recorded_minor = sum(refund.amount.minor for refund in refunds if refund.stands_for_dispute)
    is_over_recorded = 0 < counted_minor <= disputed_minor < recorded_minor
    problems = (
        [f"payment {first_share_id}: more is recorded as chargebacks than its lost disputes took"]
        if is_over_recorded
        else []
    )
    return problems + [
        f"payment {share.id}: what counts against its share does not match its refunds and disputes"
        for share, sums in zip(shares, sums_of(shares, refunds, disputes), strict=True)
        if (share.reserved, share.returned_elsewhere, share.lost)
        != (sums.reserved, sums.refunded_externally, sums.lost)
    ]
