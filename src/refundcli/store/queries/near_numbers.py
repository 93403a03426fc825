"""Find numbers close to a mistyped one."""

from refundcli.store.databases.rows import Rows

_NEAR_ENOUGH = 2_000


def numbers_near(rows: Rows, table: str, number: str) -> list[str]:
    """Numbers close to this one, enough to find a typo. Those with the same beginning come first."""
    query = f"SELECT number FROM {table} WHERE {{}} ORDER BY number LIMIT {_NEAR_ENOUGH}"
    numbers: dict[str, None] = {}
    for prefix_length in (len(number) - 1, len(number) - 2, len(number) // 2):
        pattern = f"{escaped(number[: max(2, prefix_length)])}%"
        near_rows = rows.all(query.format("number LIKE :pattern ESCAPE '/'"), pattern=pattern)
        numbers |= dict.fromkeys(row[0] for row in near_rows)
    return list(numbers) or [row[0] for row in rows.all(query.format("number IS NOT NULL"))]


def escaped(text: str) -> str:
    """A text for LIKE, with `/` as the escape character."""
    return text.replace("/", "//").replace("%", "/%").replace("_", "/_")
