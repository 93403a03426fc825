"""The number format of credit notes: stored with the first number, changed only by `store number-format` (I9)."""

from refundcli.domain.errors import SettingsProblem
from refundcli.services.ports.books import Books, Reading, Writing


class NumberFormatChanged(SettingsProblem):
    code = "number-format-changed"

    def __init__(self, stored: str, configured: str) -> None:
        super().__init__(
            f"This store numbers its credit notes {stored}; the settings say {configured}. Nothing was done.",
            hint=f"Set number_format = {stored!a} under [credit_notes], or change the store:\n"
            f"refundcli store number-format {configured!a}",
            context={"store": stored, "settings": configured},
        )


def refuse_changed_format(reading: Reading, configured: str) -> None:
    """Raises NumberFormatChanged if the settings differ from the stored format."""
    stored = reading.number_format()
    if stored and stored != configured:
        raise NumberFormatChanged(stored, configured)


def change_format(credit_note_format: str, *, books: Books) -> str:
    """Number new credit notes like this from now on; returns the previous format, "" if none was stored."""

    def write(tx: Writing) -> str:
        before = tx.number_format()
        tx.change_number_format(credit_note_format)
        return before

    return books.write(write)
