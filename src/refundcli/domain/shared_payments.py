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
    confirmed = [external for external in externals if not external.is_held]
    held_sum = sum(external.amount for external in externals if external.is_held)
    own = {share.payment_id: _own(share, confirmed) for share in shares}
    returned = {share.payment_id: min(own[share.payment_id], _most_returned(share)) for share in shares}
    room = {share.payment_id: max(_free(share) - returned[share.payment_id], 0) for share in shares}
    in_opening = {share.payment_id: _in_opening(share, confirmed) for share in shares}
    unassigned = sum(external.amount for external in confirmed if not external.is_assigned) - sum(in_opening.values())
    # The other shares funded what exceeds the refund's own share.
    somewhere = unassigned + sum(own.values()) - sum(returned.values())
    lost = max(taken_by_disputes - sum(share.recorded for share in shares), 0)
    left_of_all = max(sum(room.values()) - somewhere, 0)
    sums = []
    for place, share in enumerate(shares):
        of = share.payment_id
        certain = min(room[of], max(somewhere - _others(room, of), 0))
        room_left = room[of] - certain
        doubtful = _others(in_opening, of)
        reserved = min(somewhere - certain + doubtful + held_sum, room_left)
        beyond = max(somewhere - sum(room.values()), 0) if place == 0 else 0
        lost_beyond = max(lost - left_of_all, 0) if place == 0 else 0
        sums.append(
            ShareSums(
                of, share.promised + reserved, returned[of] + certain + beyond, min(lost, room_left) + lost_beyond
            )
        )
    return sums


def _free(share: ShareFacts) -> int:
    return max(share.allocated - share.refunded - share.promised, 0)


def _most_returned(share: ShareFacts) -> int:
    """The most that this share can have refunded; the other shares funded the rest, unless the import reported it."""
    return max(_free(share), share.opening)


def _own(share: ShareFacts, confirmed: Iterable[ExternalFacts]) -> int:
    """What was certainly refunded of this share: the imported figure, and what was assigned to it since."""
    before, later = _assigned(share, confirmed)
    return max(share.opening, before) + later


def _in_opening(share: ShareFacts, confirmed: Iterable[ExternalFacts]) -> int:
    """How much of the unassigned refunds is in the share's imported figure."""
    mine = [external for external in confirmed if external.payment_id == share.payment_id and not external.is_assigned]
    before, _ = _assigned(share, confirmed)
    return min(sum(external.amount for external in mine if external.is_in_opening), max(share.opening - before, 0))


def _assigned(share: ShareFacts, confirmed: Iterable[ExternalFacts]) -> tuple[int, int]:
    """The assigned amounts from before the share was imported, and from later."""
    mine = [external for external in confirmed if external.payment_id == share.payment_id and external.is_assigned]
    before = sum(external.amount for external in mine if external.is_in_opening)
    return before, sum(external.amount for external in mine) - before


def _others(room: dict[int, int], payment_id: int) -> int:
    return sum(room.values()) - room[payment_id]
