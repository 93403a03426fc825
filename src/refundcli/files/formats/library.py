"""The formats that are built in, and the user's own from the settings."""

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from refundcli.domain.errors import UsageProblem, did_you_mean
from refundcli.files.formats.mapping import BANK, INVOICES, FileFormat, format_of
from refundcli.files.invoices.exported_list import NAME as LIST
from refundcli.files.invoices.exported_list import TABLE
from refundcli.files.invoices.rows import COLUMNS, REQUIRED

AUTO = "auto"
# Our own layout; it needs no mapping.
OWN = "refundcli"
_FOLDER = Path(__file__).parent


class UnknownFormat(UsageProblem):
    code = "unknown-format"

    def __init__(self, name: str, names: Sequence[str]) -> None:
        super().__init__(
            f"There is no format {name[:60]!a}.",
            hint=f"{did_you_mean(name[:60], names)} Formats: {', '.join(names)}.".strip(),
            context={"format": name[:60]},
        )


class Formats:
    """All formats by name; one of the settings replaces a built-in one of the same name."""

    def __init__(self, own_tables: Mapping[str, Mapping[str, Any]], *, origin: str = "settings") -> None:
        """Raises InvalidFormat."""
        tables: dict[str, tuple[Mapping[str, Any], str]] = {
            path.stem: (_table_in(path), "built in") for path in sorted(_FOLDER.glob("*.toml"))
        }
        tables |= {name: (table, origin) for name, table in own_tables.items()}
        self._by_name = {OWN: _own(), LIST: format_of(LIST, TABLE, "built in")} | {
            name: format_of(name, table, origin_of_it) for name, (table, origin_of_it) in tables.items()
        }

    def __iter__(self) -> Any:
        return iter(self._by_name.values())

    def named(self, name: str, *kinds: str) -> FileFormat:
        """Raises UnknownFormat. `kinds`: the kinds that can be used here; by default any."""
        found = self._by_name.get(name)
        if found is None or found.kind not in (kinds or (INVOICES, BANK)):
            raise UnknownFormat(name, [known.name for known in self if known.kind in (kinds or (INVOICES, BANK))])
        return found

    def candidates(self, name: str, kind: str) -> list[FileFormat]:
        """The formats to look for: that of this name, or with AUTO all of this kind."""
        return [known for known in self if known.kind == kind] if name == AUTO else [self.named(name, kind)]


def _own() -> FileFormat:
    table: dict[str, Any] = {"signature": list(REQUIRED), **{column: column for column in COLUMNS}}
    return format_of(OWN, table, "built in")


def _table_in(path: Path) -> dict[str, Any]:
    return tomllib.loads(path.read_text(encoding="utf-8"))
