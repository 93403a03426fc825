"""One provider payment that pays several invoices: what counts against each invoice's share of it.

Our own refunds count on their own share. A refund that was made elsewhere says nothing of invoices: until a person
assigns it, it counts against every share that could have given it, and so does what a dispute took.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ShareFacts:
    """What is known of one share for itself, in minor units.

    `promised` to our own refunds under way, `refunded` by them; `opening` went back before the books knew the payment;
    `recorded` of disputes by `mark-refunded`.
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

    `is_assigned`: a person said that it is that invoice's. `is_in_opening`: made before the books knew that share.
    `is_held`: it failed and the provider may send it again, or it may be the same as a record; otherwise it was given.
    """

    payment_id: int
    amount: int
    is_assigned: bool = False
    is_in_opening: bool = False
    is_held: bool = False


@dataclass(frozen=True, slots=True)
class ShareSums:
    """What follows for one share, in minor units."""

    payment_id: int
    reserved: int
    returned_elsewhere: int
    lost: int


def count_shares(
    shares: Sequence[ShareFacts], externals: Sequence[ExternalFacts], *, taken_by_disputes: int
) -> list[ShareSums]:
    """The sums of every share; the first one also gets what is out beyond what all of them took (I13).

    What only one share can have given is returned. What several could have given is reserved on each of them.
    """
    confirmed = [external for external in externals if not external.is_held]
    held_sum = sum(external.amount for external in externals if external.is_held)
    own = {share.payment_id: _own(share, confirmed) for share in shares}
    returned = {share.payment_id: min(own[share.payment_id], _most_returned(share)) for share in shares}
    room = {share.payment_id: max(_free(share) - returned[share.payment_id], 0) for share in shares}
    in_opening = {share.payment_id: _in_opening(share, confirmed) for share in shares}
    unassigned = sum(external.amount for external in confirmed if not external.is_assigned) - sum(in_opening.values())
    # A refund over more than its share gave the rest from the others.
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
    """More than the share can give was given by the others, unless the books were told so from the start."""
    return max(_free(share), share.opening)


def _own(share: ShareFacts, confirmed: Iterable[ExternalFacts]) -> int:
    """What went back of this share for certain: the figure it came with, and what was assigned to it since."""
    before, later = _assigned(share, confirmed)
    return max(share.opening, before) + later


def _in_opening(share: ShareFacts, confirmed: Iterable[ExternalFacts]) -> int:
    """What of the refunds that nobody assigned is in the figure that the share came with."""
    mine = [external for external in confirmed if external.payment_id == share.payment_id and not external.is_assigned]
    before, _ = _assigned(share, confirmed)
    return min(sum(external.amount for external in mine if external.is_in_opening), max(share.opening - before, 0))


def _assigned(share: ShareFacts, confirmed: Iterable[ExternalFacts]) -> tuple[int, int]:
    """From before the books knew the share, and later."""
    mine = [external for external in confirmed if external.payment_id == share.payment_id and external.is_assigned]
    before = sum(external.amount for external in mine if external.is_in_opening)
    return before, sum(external.amount for external in mine) - before


def _others(room: dict[int, int], payment_id: int) -> int:
    return sum(room.values()) - room[payment_id]
