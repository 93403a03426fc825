"""How an audit entry carries rows: a line for each page of one table, compressed where that is shorter."""

import base64
import json
import zlib
from collections.abc import Iterator

from refundcli.store.guarded.columns import VERSION

# A level above the lowest would cost an import of a million rows more than its own check.
_LEVEL, _WORTH_IT = 1, 300
_COMPRESSED = "z"


def row_text(table: str, rows_json: str) -> str:
    """One line. `rows_json`: a list of lists, the guarded columns in their order."""
    line = f'["{table}",{VERSION},{rows_json}]'
    if len(line) < _WORTH_IT:
        return line.replace("\n", " ")
    return _COMPRESSED + base64.b64encode(zlib.compress(line.encode(), _LEVEL)).decode()


def pages_in(rows_text: str) -> Iterator[tuple[str, str]]:
    """The table of each line, and the line as JSON. Raises ValueError if it is none."""
    for line in rows_text.splitlines():
        page_json = zlib.decompress(base64.b64decode(line[1:])).decode() if line.startswith(_COMPRESSED) else line
        table = json.loads(page_json[: page_json.index(",")] + "]")[0]
        yield str(table), page_json
