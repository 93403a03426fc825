"""The number format of credit notes: stored with the first number, changed only by `store number-format` (I9)."""

from refundcli.domain.errors import SettingsProblem
from refundcli.services.ports.books import Books, Reading, Writing


class NumberFormatChanged(SettingsProblem):
    code = "number-format-changed"

    def __init__(self, kept: str, wanted: str) -> None:
        super().__init__(
            f"This store numbers its credit notes {kept}; the settings say {wanted}. Nothing was done.",
            hint=f"Set number_format = {kept!a} under [credit_notes], or change the store:\n"
            f"refundcli store number-format {wanted!a}",
            context={"store": kept, "settings": wanted},
        )


def refuse_changed_format(reading: Reading, wanted: str) -> None:
    """Raises NumberFormatChanged if the settings differ from the stored format."""
    kept = reading.number_format()
    if kept and kept != wanted:
        raise NumberFormatChanged(kept, wanted)


def change_format(number_format: str, *, books: Books) -> str:
    """Number new credit notes like this from now on; returns the previous format, "" if none was stored."""

    def write(tx: Writing) -> str:
        before = tx.number_format()
        tx.change_number_format(number_format)
        return before

    return books.write(write)
