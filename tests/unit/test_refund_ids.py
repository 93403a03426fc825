"""A refund's id is derived from its request, so that a restored backup derives the same one again."""

import re
from datetime import UTC, datetime, timedelta

from refundcli.domain.identifiers import new_id
from refundcli.services.dispatch.idempotency_keys import idempotency_key, refund_id

SECRET = b"the store's own secret"


def test_the_same_request_has_the_same_id() -> None:
    assert refund_id(SECRET, "order-7", "pi_1", 1) == refund_id(SECRET, "order-7", "pi_1", 1)


def test_another_key_payment_attempt_or_store_has_another_id() -> None:
    ids = {
        refund_id(SECRET, "order-7", "pi_1", 1),
        refund_id(SECRET, "order-8", "pi_1", 1),
        refund_id(SECRET, "order-7", "pi_2", 1),
        refund_id(SECRET, "order-7", "pi_1", 2),
        refund_id(b"another store", "order-7", "pi_1", 1),
    }
    assert len(ids) == 5


def test_it_looks_like_every_other_id() -> None:
    for n in range(200):
        assert re.fullmatch(r"rf_[0-7][0-9A-HJKMNP-TV-Z]{25}", refund_id(SECRET, f"key-{n}", "pi_1", 1))


def test_idempotency_keys_are_what_they_were() -> None:
    """A key that changed would be a new request to the provider."""
    assert idempotency_key(b"secret", "order-7", "pi_1", 1) == "8e57dcbb-0dff-4967-8d66-a1c8238fefbf"


def test_ids_of_other_records_sort_by_their_time() -> None:
    times = [datetime(2026, 9, 1, tzinfo=UTC) + timedelta(milliseconds=n) for n in range(200)]
    ids = [new_id("rf_", at) for at in times]
    assert ids == sorted(set(ids))
    assert all(re.fullmatch(r"rf_01[0-9A-HJKMNP-TV-Z]{24}", of_time) for of_time in ids)
    assert new_id("rf_", times[0]) != ids[0]
