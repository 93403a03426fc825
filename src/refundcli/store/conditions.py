"""Conditions and sums of payments and refunds, as SQL text for partial indexes, queries and the bound of a refund."""

# Conditions of partial indexes. A query uses such an index only if it states exactly the same condition.
THROUGH_PROVIDER = "provider <> ''"
# The most that a payment can refund: its share, or what was captured if that is known to be less (I1).
CAPTURED = "CASE WHEN captured < allocated THEN captured ELSE allocated END"
# Could be refunded now: as `Payment.refundable`, without those that must wait (R10, R11).
MONEY_LEFT = (
    f"{CAPTURED} - reserved - refunded - returned_elsewhere - lost - credited > 0"
    " AND dispute <> 'open' AND dispute <> 'unknown' AND NOT processing"
)
DISPUTED, PROCESSING = "dispute = 'open' OR dispute = 'unknown'", "processing"
# What lost disputes took of a payment; all of it if no amount was reported (R11).
TAKEN_BY_DISPUTES = (
    "(SELECT coalesce(sum(coalesce(d.amount, payment.allocated)), 0) FROM dispute d"
    " WHERE d.payment_id = payment.id AND d.state = 'lost')"
)
# More was refunded and lost than was captured: a capture that failed, or a dispute, after a refund (I13).
LOSS = f"refunded + returned_elsewhere + lost > {CAPTURED}"
# External refunds, few among many refunds; those without a reason are not adopted.
EXTERNAL = "kind = 'external'"
# A refund that failed or was reversed after it was accepted, until a person acknowledges it (R14).
NEEDS_ACKNOWLEDGEMENT = "came_back_at IS NOT NULL AND acknowledged_at IS NULL"
