"""One error class per cause, with its code, its message and the next step.

RefundcliError
├── UsageProblem       invalid command line (exit 2)
├── Refused            a business rule refuses it (exit 3)
├── NotUsable          something refundcli needs is not usable (exit 4)
│   ├── SettingsProblem    the settings, credentials, or what they name
│   └── StoreProblem       the store
├── NotFound           what was asked for does not exist (exit 5)
├── ProviderDeclined   the provider refused it for good (exit 6)
├── NotSent            nothing was sent: provider unreachable or rate limited, safe to repeat (exit 7)
└── OutcomeUnknown     the outcome is not known yet (exit 8)
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from difflib import get_close_matches
from enum import StrEnum
from typing import ClassVar


class Family(StrEnum):
    """The kind of error; the command line turns it into an exit code."""

    USAGE = "usage"
    REFUSED = "refused"
    NOT_USABLE = "not-usable"
    NOT_FOUND = "not-found"
    DECLINED = "declined"
    NOT_SENT = "not-sent"
    UNKNOWN = "outcome-unknown"


class RefundcliError(Exception):
    """An error that a person can act on. `hint` is the next step; `context` is for scripts."""

    code: ClassVar[str]
    family: ClassVar[Family]

    def __init__(self, message: str, *, hint: str = "", context: Mapping[str, object] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.context: dict[str, object] = dict(context or {})


class UsageProblem(RefundcliError):
    code = "usage"
    family = Family.USAGE


class Refused(RefundcliError):
    code = "refused"
    family = Family.REFUSED


class NotUsable(RefundcliError):
    """Nothing can be done before someone has set something right."""

    code = "not-usable"
    family = Family.NOT_USABLE


class SettingsProblem(NotUsable):
    code = "settings"


class SheetsMissing(SettingsProblem):
    code = "sheets-missing"

    def __init__(self) -> None:
        super().__init__(
            "Excel workbooks need a library that is not installed.", hint="pip install 'refundcli[sheets]'"
        )


class StoreProblem(NotUsable):
    code = "store"


class NotFound(RefundcliError):
    code = "not-found"
    family = Family.NOT_FOUND


class ProviderDeclined(RefundcliError):
    code = "provider-declined"
    family = Family.DECLINED


class NotSent(RefundcliError):
    code = "not-sent"
    family = Family.NOT_SENT


class OutcomeUnknown(RefundcliError):
    code = "outcome-unknown"
    family = Family.UNKNOWN


@contextmanager
def before_sending() -> Iterator[None]:
    """Nothing is sent inside; an error about an unreachable provider then says so."""
    try:
        yield
    except RefundcliError as problem:
        if problem.family is Family.NOT_SENT and "Nothing was sent" not in problem.message:
            problem.message = f"{problem.message.rstrip('.')}. Nothing was sent."
        raise


# Characters that people confuse with each other.
_LOOK_ALIKE = str.maketrans("oliszb", "011528")
_MOST_SUGGESTED = 3
# A candidate this much farther away than the nearest is not suggested.
_CLEARLY_NEARER = 0.5
# Two swapped neighbours are a likelier typing error than another character.
_SWAPPED = 0.9


def did_you_mean(word: str, candidates: Iterable[str]) -> str:
    """`Did you mean duplicate?`, or "" when no candidate is near. The nearest comes first."""
    known_words = list(candidates)
    begun_words = [known for known in known_words if known.startswith(word)] if len(word) > 1 else []
    if 0 < len(begun_words) <= _MOST_SUGGESTED:
        return f"Did you mean {' or '.join(begun_words)}?"
    near_words = get_close_matches(word, known_words, n=max(len(known_words), 1), cutoff=0.6)
    return _suggestion({candidate: _distance(word, candidate) for candidate in near_words})


def nearest_number(typed_number: str, numbers: Iterable[str]) -> str:
    """The number that was most likely meant, or "" when more than one typing error separates it or several are as near.

    Numbers resemble each other, so one that is farther away is another invoice. Separators and case do not count.
    """
    typed = _characters(typed_number)
    distances = {number: _distance(typed, _characters(number)) for number in numbers} if typed else {}
    likely_numbers = _likely({number: distance for number, distance in distances.items() if distance <= 1})
    return likely_numbers[0] if len(likely_numbers) == 1 else ""


def _suggestion(distances: Mapping[str, float]) -> str:
    likely_words = _likely(distances)
    return f"Did you mean {' or '.join(likely_words[:_MOST_SUGGESTED])}?" if likely_words else ""


def _likely(distances: Mapping[str, float]) -> list[str]:
    """The candidates of about the smallest distance, the nearest first."""
    nearest_first = sorted(distances, key=distances.__getitem__)
    return [
        candidate for candidate in nearest_first if distances[candidate] < distances[nearest_first[0]] + _CLEARLY_NEARER
    ]


def _characters(number: str) -> str:
    """The letters and digits of a number, in one case."""
    return "".join(filter(str.isalnum, number)).casefold()


def _distance(typed_word: str, candidate: str) -> float:
    """The number of typing errors between the two; characters that look alike count as equal."""
    typed, known = (text.casefold().translate(_LOOK_ALIKE) for text in (typed_word, candidate))
    previous_row: list[float] = []
    row = [float(length) for length in range(len(known) + 1)]
    for i, typed_character in enumerate(typed, 1):
        previous_row, row_before_previous, row = row, previous_row, [float(i)]
        for j, known_character in enumerate(known, 1):
            cost = min(previous_row[j] + 1, row[j - 1] + 1, previous_row[j - 1] + (typed_character != known_character))
            if i > 1 and j > 1 and typed_character == known[j - 2] and typed[i - 2] == known_character:
                cost = min(cost, row_before_previous[j - 2] + _SWAPPED)
            row.append(cost)
    return row[-1]
