"""Whose report a file is: by its heading, which may follow other lines, with any delimiter."""

from enum import StrEnum

from refundcli.files.formats.heading import Heading, folded, text_records
from refundcli.files.source import EmptyFile, FileProblem, Source

FIRST_LINE = Heading(1, ",", ())


class ReportKind(StrEnum):
    ADYEN = "adyen"
    STRIPE_BALANCE = "stripe-balance"


class LayoutNotSupported(FileProblem):
    code = "layout-not-supported"

    def __init__(self, file_name: str) -> None:
        super().__init__(
            file_name,
            "the layout of Adyen's Balance Platform reports is not supported yet",
            hint="Use the payment accounting or settlement details report of the merchant account.",
        )


def report_heading(source: Source) -> tuple[ReportKind, Heading]:
    """The kind and the heading; by default Adyen's on the first line. Raises LayoutNotSupported, FileProblem."""
    if source.is_spreadsheet:
        raise FileProblem(source.name, "this is a spreadsheet", hint="Give the report as it was downloaded, as CSV.")
    records = list(text_records(source))
    if not records:
        raise EmptyFile(source.name)
    for heading in records:
        names = {folded(name) for name in heading.names}
        if {"reporting_category", "gross"} <= names:
            return ReportKind.STRIPE_BALANCE, heading
        if "psp payment psp reference" in names:
            raise LayoutNotSupported(source.name)
        if {"psp reference", "merchant account"} <= names:
            return ReportKind.ADYEN, heading
    return ReportKind.ADYEN, FIRST_LINE
