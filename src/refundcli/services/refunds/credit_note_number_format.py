"""The number format of credit notes: stored with the first number, changed only by `store number-format` (I9)."""

from dataclasses import dataclass

from refundcli.domain.errors import SettingsProblem
from refundcli.services.ports.books import Books, Reading, Writing


class NumberFormatChanged(SettingsProblem):
    code = "number-format-changed"

    def __init__(self, stored_format: str, configured_format: str) -> None:
        super().__init__(
            f"This store numbers its credit notes {stored_format}; the settings say {configured_format}. "
            "Nothing was done.",
            hint=f"Set number_format = {stored_format!a} under [credit_notes], or change the store:\n"
            f"refundcli store number-format {configured_format!a}",
            context={"store": stored_format, "settings": configured_format},
        )


def refuse_changed_format(reading: Reading, configured_format: str) -> None:
    """Raises NumberFormatChanged if the settings differ from the stored format."""
    stored_format = reading.credit_notes.number_format()
    if stored_format and stored_format != configured_format:
        raise NumberFormatChanged(stored_format, configured_format)


@dataclass(frozen=True, slots=True)
class CreditNoteNumberFormat:
    """The stored number format, beside the one in the settings."""

    books: Books
    configured_format: str

    def check(self) -> None:
        """Raises NumberFormatChanged if the settings differ from the stored format."""
        self.books.read(lambda tx: refuse_changed_format(tx, self.configured_format))

    def change(self, credit_note_format: str) -> str:
        """Number new credit notes like this from now on; returns the previous format, "" if none was stored."""

        def write(tx: Writing) -> str:
            previous_format = tx.credit_notes.number_format()
            tx.credit_notes.change_number_format(credit_note_format)
            return previous_format

        return self.books.write(write)
