"""Every text that an operator can see, by file, as docs/messages.md lists it for review.

    PYTHONPATH=tests .venv/bin/python -m messages

writes it anew. A text is any literal of two words or more, and the help of the commands; `{…}` stands for what the
program fills in.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "refundcli"
PAGE = ROOT / "docs" / "messages.md"
# Not seen by operators: the practice providers, migrations, and what a database is asked.
_HIDDEN = ("sandbox", "store/migrations", "store/schema", "store/queries", "store/databases/bulk_sql.py")
_SQL = re.compile(
    r"\b(SELECT|INSERT|UPDATE|DELETE|CREATE|ALTER TABLE|PRAGMA|BEGIN|VALUES|WHERE|ORDER BY|SET|FROM|NULL|DISTINCT)\b"
    r"|coalesce\(| = :[a-z]"
)
_WORDS = re.compile(r"[A-Za-z'’]{2,}[,:;]? +[A-Za-z'’{(]+")


def page() -> str:
    """The whole page, as text."""
    first = (__doc__ or "").splitlines()[0]
    parts = [
        "# Messages",
        "",
        first,
        f"Made by `tests/{Path(__file__).name}`; a test compares it with the program.",
        "",
    ]
    for path in sorted(SOURCE.rglob("*.py")):
        name = path.relative_to(SOURCE).as_posix()
        texts = [] if name.startswith(_HIDDEN) else list(dict.fromkeys(_texts(path)))
        if texts:
            parts += [f"## {name}", "", *(f"- `{text}`" for text in texts), ""]
    return "\n".join(parts)


def _texts(path: Path) -> Iterator[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    hidden = {id(node) for node in _not_shown(tree)}
    for node in ast.walk(tree):
        if id(node) in hidden or not isinstance(node, ast.Constant | ast.JoinedStr):
            continue
        if isinstance(node, ast.JoinedStr):
            hidden.update(id(part) for part in ast.walk(node))
        text = _shown(node)
        if _WORDS.search(text) and not _SQL.search(text):
            yield text


def _not_shown(tree: ast.Module) -> Iterator[ast.AST]:
    """Types, patterns, and docstrings but those of commands, which are their help."""
    for node in ast.walk(tree):
        if isinstance(node, ast.AnnAssign | ast.arg) and node.annotation and not _is_option(node.annotation):
            yield from ast.walk(node.annotation)
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in ("re.compile", "TypeVar", "cast"):
            yield from ast.walk(node)
        elif isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0] if node.body else None
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and not _is_command(node):
                yield first.value
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.returns:
                yield from ast.walk(node.returns)


def _is_option(annotation: ast.expr) -> bool:
    return bool(re.search(r"\b(Option|Argument|day_option)\b", ast.unparse(annotation)))


def _is_command(node: ast.AST) -> bool:
    decorators = getattr(node, "decorator_list", [])
    return any(re.search(r"\.(command|callback)\(", ast.unparse(decorator)) for decorator in decorators)


def _shown(node: ast.Constant | ast.JoinedStr) -> str:
    parts = node.values if isinstance(node, ast.JoinedStr) else [node]
    text = "".join(str(part.value) if isinstance(part, ast.Constant) else "{…}" for part in parts)
    return text.strip().replace("\n", " ⏎ ").replace("`", "'")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
