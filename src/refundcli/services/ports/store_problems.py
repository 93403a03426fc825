"""Problems of the store that a use case handles itself."""

from typing import ClassVar

from refundcli.domain.errors import StoreProblem


class BooksUnavailable(StoreProblem):
    """The store is locked or cannot be reached; a retry may work. Nothing was changed.

    `passes_within`: seconds for which recording a provider's answer is retried.
    """

    passes_within: ClassVar[float] = 600.0


class WouldContradict(StoreProblem):
    """A constraint of the store refused a change: the last guard, behind every rule."""

    code = "store-would-contradict"

    def __init__(self, violation: str) -> None:
        super().__init__(
            f"The store refused this change: {violation}.",
            hint="refundcli store check   verifies the books; please report what you did.",
        )
