"""Does the store still hold together? Every sum is added up anew, every seal broken open (I1, I9, I10)."""

# ruff: noqa: S608 - the parts of each query are constants of this program

from collections.abc import Iterator

from sqlalchemy import text
from sqlmodel import Session

from refundcli.store.audit import broken_seals
from refundcli.store.errors import StoreCorrupt
from refundcli.store.payment_reading import disputes_by_payment
from refundcli.store.reading import SqlReading
from refundcli.store.share_counting import share_rows, sums_of
from refundcli.store.tables import CAPTURED, TAKEN_BY_DISPUTES
from refundcli.store.unit_of_work import SqlBooks

# A refund reserves its amount while it is under way, or after a failure that the provider may retry (R14).
_HELD = "r.state IN ('ready','submitted','awaiting-approval','pending') OR r.holding"
# An external one also reserves it until someone decides whether it was recorded by hand.
_HELD_ELSEWHERE = "r.holding OR r.undecided AND r.state IN ('pending','succeeded')"
# What counts as refunded when a part was returned.
_COUNTED = "r.amount - r.reversed_amount"
_HAS = "EXISTS (SELECT 1 FROM dispute d WHERE d.payment_id = coalesce(p.share_of, p.id) AND d.state = '{}')"
# What counts against shares of one payment is added up from all of them.
_ALONE = "p.share_of IS NULL"

# Each finds the rows that break one promise; none in sound books.
_CHECKS = {
    "payment {} has another amount reserved than its refunds": f"""
        SELECT p.id FROM payment p WHERE {_ALONE} AND (p.reserved < (
            SELECT coalesce(sum({_COUNTED}), 0) FROM refund r
            WHERE r.payment_id = p.id AND r.kind <> 'external' AND ({_HELD}))
        OR p.reserved > (
            SELECT coalesce(sum({_COUNTED}), 0) FROM refund r
            WHERE r.payment_id = p.id AND (r.kind <> 'external' AND ({_HELD})
                OR r.kind = 'external' AND ({_HELD_ELSEWHERE}))))""",
    "payment {} counts another amount refunded than its refunds do": f"""
        SELECT p.id FROM payment p WHERE p.refunded <> (
            SELECT coalesce(sum({_COUNTED}), 0) FROM refund r
            WHERE r.payment_id = p.id AND r.kind <> 'external' AND r.state IN ('succeeded','recorded'))""",
    "payment {} counts another amount refunded externally than its external refunds": f"""
        SELECT p.id FROM (
            SELECT p.id, p.returned_elsewhere, p.opening_returned, (
                SELECT coalesce(sum({_COUNTED}), 0) FROM refund r
                WHERE r.payment_id = p.id AND r.kind = 'external' AND NOT r.undecided
                    AND r.state IN ('pending','succeeded')) AS seen
            FROM payment p WHERE {_ALONE}) p
        WHERE p.returned_elsewhere < p.opening_returned OR p.returned_elsewhere < p.seen
            OR p.returned_elsewhere > p.opening_returned + p.seen""",
    "payment {} has another dispute state than its disputes": f"""
        SELECT p.id FROM payment p WHERE p.dispute <> CASE
            WHEN {_HAS.format("unknown")} THEN 'unknown'
            WHEN {_HAS.format("open")} THEN 'open'
            WHEN {_HAS.format("lost")} THEN 'lost'
            WHEN {_HAS.format("won")} THEN 'won'
            ELSE '' END""",
    "payment {} counts another amount lost than its lost disputes": f"""
        SELECT id FROM payment WHERE share_of IS NULL AND lost <> CASE WHEN {TAKEN_BY_DISPUTES} > dispute_recorded
            THEN {TAKEN_BY_DISPUTES} - dispute_recorded ELSE 0 END""",
    "payment {} counts more recorded chargebacks than it has": """
        SELECT p.id FROM payment p WHERE p.dispute_recorded < 0 OR p.dispute_recorded > (
            SELECT coalesce(sum(r.amount), 0) FROM refund r WHERE r.payment_id = p.id
                AND r.kind = 'record' AND r.state = 'recorded' AND r.reason = 'chargeback')""",
    "payment {} is a share of what is no payment with an id": """
        SELECT p.id FROM payment p LEFT JOIN payment f ON f.id = p.share_of WHERE p.share_of IS NOT NULL
            AND (f.id IS NULL OR f.share_of IS NULL OR f.share_of <> f.id OR f.provider <> p.provider
                OR coalesce(f.payment_intent, f.charge, f.psp_reference) IS NULL)""",
    "payment {} is a further share and has an id of its own": """
        SELECT p.id FROM payment p WHERE p.share_of IS NOT NULL AND p.share_of <> p.id
            AND coalesce(p.payment_intent, p.charge, p.psp_reference) IS NOT NULL""",
    "payment {} is a share and has another amount captured than the others": """
        SELECT p.id FROM payment p JOIN payment f ON f.id = p.share_of
        WHERE coalesce(p.captured, -1) <> coalesce(f.captured, -1)""",
    "the dispute of payment {} is not with its first share": """
        SELECT DISTINCT p.id FROM dispute d JOIN payment p ON p.id = d.payment_id
        WHERE p.share_of IS NOT NULL AND p.share_of <> p.id""",
    "invoice {} has other sums than its payments": f"""
        SELECT i.number FROM invoice i LEFT JOIN payment p ON p.invoice_id = i.id GROUP BY i.id, i.number
        HAVING i.paid <> coalesce(sum({CAPTURED}), 0)
            OR i.returned <> coalesce(sum(p.refunded + p.returned_elsewhere), 0)""",
    "invoice {} is paid although all of it was returned": """
        SELECT number FROM invoice WHERE status = 'paid' AND paid > 0 AND returned >= paid""",
    "refund {} reserves its amount in a state that reserves none": """
        SELECT id FROM refund WHERE holding AND state <> 'failed' OR undecided AND kind <> 'external'""",
    "refund {} was returned by its whole amount or more": """
        SELECT id FROM refund WHERE reversed_amount < 0 OR reversed_amount >= amount""",
    "refund {} has no credit note": """
        SELECT r.id FROM refund r LEFT JOIN credit_note c ON c.refund_id = r.id
        WHERE c.id IS NULL AND (r.kind <> 'external' OR r.reason <> '')""",
    "refund {} and its credit note tell different stories": """
        SELECT r.id FROM refund r JOIN credit_note c ON c.refund_id = r.id
        WHERE (r.state IN ('pending','succeeded','recorded')) <> (c.status = 'issued')
            OR (r.state IN ('ready','submitted','awaiting-approval')) <> (c.status = 'draft') OR r.amount <> c.amount
            OR (r.state IN ('succeeded','recorded') AND c.number IS NULL)""",
    "refund {} was sent without a key or a request": """
        SELECT id FROM refund WHERE kind = 'provider' AND (idempotency_key IS NULL OR request IS NULL)""",
    "closing {} was sent without a key or an address": """
        SELECT id FROM closing WHERE idempotency_key = '' OR endpoint = ''""",
    # Money that is known since may have moved the invoice on.
    "closing {} is done, and its invoice is not closed": """
        SELECT c.id FROM closing c JOIN invoice i ON i.id = c.invoice_id
        WHERE c.state = 'done' AND i.paid = 0
            AND (i.status IN ('draft','open') OR c.action = 'void' AND i.status = 'uncollectible')""",
    "closing {} has not one audit entry for each change": """
        SELECT c.id FROM closing c LEFT JOIN audit_entry a ON a.subject = c.id
        GROUP BY c.id, c.fence, c.state
        HAVING sum(CASE WHEN a.action = 'closing ready' THEN 1 ELSE 0 END) <> 1
            OR sum(CASE WHEN a.action = 'closing submitted' THEN 1 ELSE 0 END) <> c.fence
            OR sum(CASE WHEN a.action = 'closing done' THEN 1 ELSE 0 END)
                <> CASE WHEN c.state = 'done' THEN 1 ELSE 0 END
            OR sum(CASE WHEN a.action = 'closing failed' THEN 1 ELSE 0 END)
                <> CASE WHEN c.state = 'failed' THEN 1 ELSE 0 END""",
}

_SERIES = """
    SELECT name, value, (SELECT count(*) FROM credit_note WHERE number IS NOT NULL)
    FROM counter WHERE name LIKE 'credit_note%'"""


def findings(books: SqlBooks) -> list[str]:
    """What is wrong with a store, one sentence each: also that parts of it cannot be read at all."""
    found: list[str] = []

    def look(session: Session) -> None:
        # Each by itself: what was found stays, though the next may not be readable.
        for sentence in unsound(session):
            found.append(sentence)

    try:
        books.inspect(look)
    except StoreCorrupt as trouble:
        found.append(f"the database cannot be read: {trouble.what}")
    except (ValueError, TypeError) as trouble:
        found.append(f"a value in it cannot be read: {trouble}")
    return found


def unsound(session: Session) -> Iterator[str]:
    """What is wrong, one sentence each; nothing in a sound store."""
    if session.get_bind().dialect.name == "sqlite":
        for (found,) in session.execute(text("PRAGMA integrity_check")):
            if found != "ok":
                yield f"SQLite: {found}"
    for seq in broken_seals(session):
        yield f"audit entry {seq} was changed, or one before it is missing"
    for sentence, query in _CHECKS.items():
        for (name,) in session.execute(text(query)):
            yield sentence.format(name)
    yield from _shares(session)
    yield from _numbers(session)


def _shares(session: Session) -> Iterator[str]:
    """What counts against each share of a payment, added up anew."""
    reading = SqlReading(session)
    for (first_share,) in session.execute(text("SELECT DISTINCT share_of FROM payment WHERE share_of IS NOT NULL")):
        rows = share_rows(session, first_share)
        if all(row.id != first_share for row in rows):
            continue  # told above
        disputes = disputes_by_payment(session, [first_share]).get(first_share, [])
        for row, sums in zip(rows, sums_of(rows, reading.refunds_of_payments(rows), disputes), strict=True):
            counted = (row.reserved, row.returned_elsewhere, row.lost)
            if counted != (sums.reserved, sums.returned_elsewhere, sums.lost):
                yield f"payment {row.id} counts another amount against its share than its refunds and disputes are"


def _numbers(session: Session) -> Iterator[str]:
    """As many numbers were given as were counted: with their uniqueness, that leaves no hole."""
    series = session.execute(text(_SERIES)).all()
    counted, given = sum(int(row[1]) for row in series), int(series[0][2]) if series else 0
    if counted != given:
        yield f"{counted} credit-note numbers were counted, {given} are there"
