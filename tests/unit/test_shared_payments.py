"""What counts against each share of a payment that pays several invoices."""

from hypothesis import given
from hypothesis import strategies as st

from refundcli.domain.shared_payments import ExternalFacts, ShareFacts, ShareSums, count_shares

A, B = 1, 2
_SHARES = (ShareFacts(A, 100), ShareFacts(B, 50))


def _counted(*externals: ExternalFacts, shares: tuple[ShareFacts, ...] = _SHARES, disputed: int = 0) -> list[ShareSums]:
    return count_shares(shares, externals, taken_by_disputes=disputed)


def _sums(*sums: tuple[int, int, int]) -> list[ShareSums]:
    return [ShareSums(payment, *amounts) for payment, amounts in zip((A, B), sums, strict=True)]


def test_our_own_refunds_count_on_their_own_share_alone() -> None:
    shares = (ShareFacts(A, 100, promised=20, refunded=30), ShareFacts(B, 50))
    assert _counted(shares=shares) == _sums((20, 0, 0), (0, 0, 0))


def test_an_unassigned_external_refund_is_reserved_on_every_share() -> None:
    assert _counted(ExternalFacts(A, 30)) == _sums((30, 0, 0), (30, 0, 0))


def test_an_assigned_one_is_returned_on_its_share_alone() -> None:
    assert _counted(ExternalFacts(B, 30, is_assigned=True)) == _sums((0, 0, 0), (0, 30, 0))


def test_what_only_one_share_can_have_given_is_returned_there() -> None:
    # 120 exceeds A: 20 is certainly B's, and 70 certainly A's.
    assert _counted(ExternalFacts(B, 120)) == _sums((30, 70, 0), (30, 20, 0))
    assert _counted(ExternalFacts(B, 150)) == _sums((0, 100, 0), (0, 50, 0))


def test_an_assigned_one_over_more_than_its_share_gave_the_rest_from_the_others() -> None:
    assert _counted(ExternalFacts(A, 120, is_assigned=True)) == _sums((0, 100, 0), (0, 20, 0))


def test_what_is_out_beyond_all_shares_is_counted_once() -> None:
    assert _counted(ExternalFacts(B, 170)) == _sums((0, 120, 0), (0, 50, 0))


def test_a_refund_older_than_its_share_is_in_the_opening_amount() -> None:
    shares = (ShareFacts(A, 100, opening=30), ShareFacts(B, 50))
    assert _counted(ExternalFacts(A, 30, is_in_opening=True), shares=shares) == _sums((0, 30, 0), (30, 0, 0))
    assigned = ExternalFacts(A, 30, is_assigned=True, is_in_opening=True)
    assert _counted(assigned, shares=shares) == _sums((0, 30, 0), (0, 0, 0))


def test_one_that_the_provider_may_send_again_is_reserved_on_every_share() -> None:
    assert _counted(ExternalFacts(A, 60, is_held=True)) == _sums((60, 0, 0), (50, 0, 0))


def test_a_lost_dispute_takes_from_every_share_until_it_is_recorded() -> None:
    assert _counted(disputed=60) == _sums((0, 0, 60), (0, 0, 50))
    recorded = (ShareFacts(A, 100, refunded=60, recorded=60), ShareFacts(B, 50))
    assert _counted(shares=recorded, disputed=60) == _sums((0, 0, 0), (0, 0, 0))


def test_a_lost_dispute_after_a_refund_shows_what_is_out_twice_once() -> None:
    shares = (ShareFacts(A, 100), ShareFacts(B, 50, refunded=50))
    assert _counted(shares=shares, disputed=150) == _sums((0, 0, 150), (0, 0, 0))


_AMOUNTS = st.integers(0, 200)


@st.composite
def _payments(draw: st.DrawFn) -> tuple[list[ShareFacts], list[ExternalFacts], int]:
    shares = []
    for payment in range(1, draw(st.integers(2, 4)) + 1):
        allocated = draw(_AMOUNTS)
        refunded = draw(st.integers(0, allocated))
        promised = draw(st.integers(0, allocated - refunded))
        opening = draw(st.integers(0, allocated - refunded - promised))
        shares.append(ShareFacts(payment, allocated, promised, refunded, opening))
    words = {"is_assigned": st.booleans(), "is_in_opening": st.booleans(), "is_held": st.booleans()}
    external = st.builds(ExternalFacts, st.integers(1, len(shares)), st.integers(1, 200), **words)
    return shares, draw(st.lists(external, max_size=4)), draw(_AMOUNTS)


def _refunded(shares: list[ShareFacts], externals: list[ExternalFacts]) -> int:
    """External refunds: a share's opening amount may include earlier ones."""
    counted = [refund for refund in externals if not refund.is_held]
    before = sum(
        max(share.opening, sum(e.amount for e in counted if e.is_in_opening and e.payment_id == share.payment_id))
        for share in shares
    )
    return before + sum(refund.amount for refund in counted if not refund.is_in_opening)


@given(_payments())
def test_all_shares_together_never_give_more_than_is_left(
    facts: tuple[list[ShareFacts], list[ExternalFacts], int],
) -> None:
    shares, externals, disputed = facts
    sums = count_shares(shares, externals, taken_by_disputes=disputed)
    refundable = 0
    for share, external in zip(shares, sums, strict=True):
        refundable += max(
            share.allocated - external.reserved - share.refunded - external.refunded_externally - external.lost, 0
        )
        # The constraint of the store (I1).
        assert share.promised <= external.reserved <= share.allocated - share.refunded
    reserved = sum(external.amount for external in externals if external.is_held)
    out = disputed + reserved + _refunded(shares, externals) + sum(share.refunded + share.promised for share in shares)
    assert refundable <= max(sum(share.allocated for share in shares) - out, 0)


@given(_payments())
def test_a_loss_is_what_is_out_beyond_all_shares(
    facts: tuple[list[ShareFacts], list[ExternalFacts], int],
) -> None:
    shares, externals, disputed = facts
    sums = count_shares(shares, externals, taken_by_disputes=disputed)
    loss = sum(
        max(share.refunded + share_sums.refunded_externally + share_sums.lost - share.allocated, 0)
        for share, share_sums in zip(shares, sums, strict=True)
    )
    out = disputed + _refunded(shares, externals) + sum(share.refunded for share in shares)
    assert loss >= out - sum(share.allocated for share in shares)
