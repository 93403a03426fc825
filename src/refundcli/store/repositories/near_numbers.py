"""Find numbers close to a mistyped one."""

from typing import Any

from sqlalchemy.orm import Mapped
from sqlmodel import Session, select

_NEAR_ENOUGH = 2_000


def numbers_near(session: Session, column: Mapped[Any], number: str) -> list[str]:
    """Numbers close to this one, enough to find a typo. Those with the same beginning come first."""
    query = select(column).order_by(column).limit(_NEAR_ENOUGH)
    numbers: dict[str, None] = {}
    for prefix_length in (len(number) - 1, len(number) - 2, len(number) // 2):
        prefix = number[: max(2, prefix_length)]
        numbers |= dict.fromkeys(session.exec(query.where(column.startswith(prefix, autoescape=True))))
    return list(numbers) or list(session.exec(query).all())
