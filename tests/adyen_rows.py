"""Rows of Adyen's settlement details report, each amount in the column that Adyen documents."""

from datetime import UTC, datetime, timedelta

from desk import MERCHANT
from oracle import PART
from vendor_codes import adyen_report_types

HEADER = (
    "Company Account,Merchant Account,Psp Reference,Merchant Reference,Payment Method,Creation Date,TimeZone,Type,"
    "Modification Reference,Gross Currency,Gross Debit (GC),Gross Credit (GC)"
)
_TYPES = adyen_report_types()


def row(kind: str, payment: str, modification: str = "", minor: int = PART, *, side: str = "", **of: str) -> str:
    """A row of the settlement details report, its amount in the vendor's column."""
    moment = (datetime.now(UTC) - timedelta(days=1)).strftime("%Y-%m-%d %H:%M:%S")
    cells = ["Co", MERCHANT, payment, "", "visa", of.get("at", moment), of.get("zone", "GMT"), kind, modification]
    amount = f"{minor // 100}.{minor % 100:02}"
    is_credit = (side or _TYPES.get(kind, ("", "debit"))[1]) == "credit"
    return ",".join([*cells, of.get("currency", "EUR"), *(("", amount) if is_credit else (amount, ""))])
