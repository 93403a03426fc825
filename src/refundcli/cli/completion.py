"""Completion of a command line in the shell, answered without loading the commands.

A word reaches the shell only if it matches `SAFE_WORD`: names of customers never do, and nothing a shell could run.
"""

import json
import os
import re
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Any

from refundcli import __version__

SAFE_WORD = re.compile(r"[A-Za-z0-9._/-]+")
# A number that looks like an option would be read as one.
_SAFE_NUMBER = re.compile(r"(?!-)[A-Za-z0-9._/-]+")
_NUMBERS_STORED = 500
_NUMBERS_OFFERED = 50

# Of one command: its `commands`; `options`, each with the words its value may be, or None if it has no value; and the
# words of its `arguments`. NUMBERS stands for the invoice numbers of the store.
Node = dict[str, Any]
NUMBERS = "#numbers"


def main(words: Sequence[str]) -> None:
    """Print what the last of these words may become, one a line."""
    sys.stdout.write("".join(f"{word}\n" for word in completions(words)))


def completions(words: Sequence[str]) -> list[str]:
    *before, start = words or [""]
    nodes = _table()
    path, waiting, given = "", None, {"--config": "", "--store": ""}
    for word in before:
        options = nodes[path]["options"]
        if waiting is not None:
            given[waiting] = word
            waiting = None
        elif word.startswith("-"):
            waiting = word if options.get(word) is not None else None
        elif word in nodes[path]["commands"]:
            path = f"{path} {word}".strip()
    node = nodes[path]
    if waiting is not None:
        candidates = node["options"][waiting]
    elif start.startswith("-"):
        candidates = [option for option in node["options"] if option.startswith("--")]
    else:
        candidates = [*node["commands"], *node["arguments"]]
    if NUMBERS in candidates:
        candidates = [*candidates, *_numbers(_numbers_file(given["--config"], given["--store"]))]
    matching = [word for word in candidates if word.startswith(start) and SAFE_WORD.fullmatch(word)]
    return matching[: max(_NUMBERS_OFFERED, len(node["options"]) + len(node["commands"]))]


def remember_numbers(numbers: Iterable[str], *, config: str, store: str) -> None:
    """Store invoice numbers for completion, the newest first. Completion is a help: a full disk is no error."""
    from refundcli.private_files import make_folder, new_file

    try:
        path = _numbers_file(config, store)
        known = _numbers(path)
        merged = list(dict.fromkeys([*filter(_SAFE_NUMBER.fullmatch, numbers), *known]))[:_NUMBERS_STORED]
        if merged == known:
            return
        make_folder(path.parent)
        with new_file(path, replace=True) as file:
            file.write("\n".join(merged).encode())
    except (OSError, RuntimeError):
        return


def prepare() -> None:
    """Write the table of commands, so that the first Tab need not."""
    with suppress(OSError, RuntimeError):
        _table()


def _numbers(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").split()
    except (OSError, ValueError):
        return []


def _numbers_file(config: str, store: str) -> Path:
    """One per store: named for what decides which store a command line uses, without reading the settings."""
    settings_file = config or os.environ.get("REFUNDCLI_CONFIG", "") or "refundcli.toml"
    settings_file = os.path.normpath(settings_file)
    try:
        changed = os.stat(settings_file).st_mtime_ns
    except OSError:
        changed = 0
    origin = [os.getcwd(), settings_file, changed, store or os.environ.get("REFUNDCLI_STORE_URL", "")]
    return _folder() / f"numbers-{sha256(json.dumps(origin).encode()).hexdigest()[:32]}"


def _folder() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "refundcli"


def _table() -> dict[str, Node]:
    """The commands by their path, from the cache; read from the commands once after each installation."""
    path = _folder() / f"commands-{__version__}-{_newest_source()}.json"
    try:
        return json.loads(path.read_bytes())  # type: ignore[no-any-return]
    except (OSError, ValueError):
        return _new_table(path)


def _newest_source() -> int:
    return max(source.stat().st_mtime_ns for source in Path(__file__).parent.rglob("*.py"))


def _new_table(path: Path) -> dict[str, Node]:
    from refundcli.cli.completion_table import command_table
    from refundcli.private_files import make_folder, new_file

    table = command_table()
    try:
        make_folder(path.parent)
        with new_file(path, replace=True) as file:
            file.write(json.dumps(table).encode())
        for old in path.parent.glob("commands-*.json"):
            if old != path:
                old.unlink(missing_ok=True)
    except OSError:
        pass
    return table
