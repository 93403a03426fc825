"""One provider payment that pays several invoices: what counts against each invoice's share of it.

Our own refunds count against their own share. An external refund names no invoice: until a person assigns it, it
counts against every share that may have funded it, and so does what a dispute took.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ShareFacts:
    """What is known of one share by itself, in minor units.

    `promised`: reserved for our own refunds under way; `refunded` by them; `opening`: refunded before the payment was
    imported; `recorded` of disputes by `mark-refunded`.
    """

    payment_id: int
    allocated: int
    promised: int = 0
    refunded: int = 0
    opening: int = 0
    recorded: int = 0


@dataclass(frozen=True, slots=True)
class ExternalFacts:
    """An external refund, stored on one of the shares.

    `is_assigned`: a person assigned it to that invoice. `is_in_opening`: made before that share was imported.
    `is_held`: it failed and the provider may retry it, or it may be the same as a record; otherwise it counts.
    """

    payment_id: int
    amount: int
    is_assigned: bool = False
    is_in_opening: bool = False
    is_held: bool = False


@dataclass(frozen=True, slots=True)
class ShareSums:
    """The resulting sums of one share, in minor units."""

    payment_id: int
    reserved: int
    refunded_externally: int
    lost: int


def count_shares(
    shares: Sequence[ShareFacts], externals: Sequence[ExternalFacts], *, taken_by_disputes: int
) -> list[ShareSums]:
    """The sums of every share; the first one also gets what exceeds all of them together (I13).

    A refund that only one share can have funded counts as refunded there. One that several may have funded is reserved
    on each of them.
    """
    confirmed_externals = [external for external in externals if not external.is_held]
    held_sum = sum(external.amount for external in externals if external.is_held)
    own_by_share = {share.payment_id: _own(share, confirmed_externals) for share in shares}
    returned_by_share = {
        share.payment_id: min(own_by_share[share.payment_id], _most_returned(share)) for share in shares
    }
    room_by_share = {share.payment_id: max(_free(share) - returned_by_share[share.payment_id], 0) for share in shares}
    opening_by_share = {share.payment_id: _in_opening(share, confirmed_externals) for share in shares}
    unassigned_sum = sum(external.amount for external in confirmed_externals if not external.is_assigned) - sum(
        opening_by_share.values()
    )
    # The other shares funded what exceeds the refund's own share.
    unplaced_sum = unassigned_sum + sum(own_by_share.values()) - sum(returned_by_share.values())
    lost_sum = max(taken_by_disputes - sum(share.recorded for share in shares), 0)
    room_left_in_all = max(sum(room_by_share.values()) - unplaced_sum, 0)
    share_sums = []
    for share_number, share in enumerate(shares):
        payment_id = share.payment_id
        certain_amount = min(room_by_share[payment_id], max(unplaced_sum - _others(room_by_share, payment_id), 0))
        room_left = room_by_share[payment_id] - certain_amount
        doubtful_amount = _others(opening_by_share, payment_id)
        reserved_amount = min(unplaced_sum - certain_amount + doubtful_amount + held_sum, room_left)
        excess = max(unplaced_sum - sum(room_by_share.values()), 0) if share_number == 0 else 0
        lost_excess = max(lost_sum - room_left_in_all, 0) if share_number == 0 else 0
        share_sums.append(
            ShareSums(
                payment_id,
                share.promised + reserved_amount,
                returned_by_share[payment_id] + certain_amount + excess,
                min(lost_sum, room_left) + lost_excess,
            )
        )
    return share_sums


def _free(share: ShareFacts) -> int:
    return max(share.allocated - share.refunded - share.promised, 0)


def _most_returned(share: ShareFacts) -> int:
    """The most that this share can have refunded; the other shares funded the rest, unless the import reported it."""
    return max(_free(share), share.opening)


def _own(share: ShareFacts, confirmed_externals: Iterable[ExternalFacts]) -> int:
    """What was certainly refunded of this share: the imported figure, and what was assigned to it since."""
    before_import, since_import = _assigned(share, confirmed_externals)
    return max(share.opening, before_import) + since_import


def _in_opening(share: ShareFacts, confirmed_externals: Iterable[ExternalFacts]) -> int:
    """How much of the unassigned refunds is in the share's imported figure."""
    unassigned_externals = [
        external
        for external in confirmed_externals
        if external.payment_id == share.payment_id and not external.is_assigned
    ]
    assigned_before_import, _ = _assigned(share, confirmed_externals)
    return min(
        sum(external.amount for external in unassigned_externals if external.is_in_opening),
        max(share.opening - assigned_before_import, 0),
    )


def _assigned(share: ShareFacts, confirmed_externals: Iterable[ExternalFacts]) -> tuple[int, int]:
    """The assigned amounts from before the share was imported, and from later."""
    assigned_externals = [
        external for external in confirmed_externals if external.payment_id == share.payment_id and external.is_assigned
    ]
    before_import = sum(external.amount for external in assigned_externals if external.is_in_opening)
    return before_import, sum(external.amount for external in assigned_externals) - before_import


def _others(amount_by_share: dict[int, int], payment_id: int) -> int:
    return sum(amount_by_share.values()) - amount_by_share[payment_id]
