"""docs/json.md has exactly the keys that the serializers write."""

import ast
import importlib
import pkgutil
import re
from pathlib import Path

import json_page
from refundcli.cli.exit_codes import ENDINGS
from refundcli.output import serializers
from refundcli.output.json import money_fields

SHAPES = json_page.shapes()


def written() -> dict[str, set[str]]:
    """The keys that each public function of the serializers writes by itself."""
    keys: dict[str, set[str]] = {}
    for module in pkgutil.iter_modules(serializers.__path__, f"{serializers.__name__}."):
        source = importlib.import_module(module.name).__file__
        assert source
        for node in ast.parse(Path(source).read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
                keys[node.name] = _keys_in(node)
    return keys


def _keys_in(function: ast.FunctionDef) -> set[str]:
    objects = (node for node in ast.walk(function) if isinstance(node, ast.Dict))
    return {str(key.value) for entry in objects for key in entry.keys if isinstance(key, ast.Constant)}


def test_the_page_has_every_shape_and_every_key_and_no_other() -> None:
    in_code = {name: keys for name, keys in written().items() if keys or name in SHAPES}
    assert {name: set(shape.own) | _repeated(name, in_code) for name, shape in SHAPES.items()} == in_code


def _repeated(name: str, in_code: dict[str, set[str]]) -> set[str]:
    """Keys that a shape writes over those of its parents, with the same meaning."""
    return in_code.get(name, set()) & set(json_page.keys_of(name, SHAPES))


def test_money_is_what_the_page_says() -> None:
    fields = re.search(r"\| money \| `\{(.*?)\}`", json_page.PAGE.read_text(encoding="utf-8"))
    assert fields
    assert re.findall(r'"(\w+)":', fields[1]) == list(money_fields(1250, "EUR", 2))


def test_every_shape_that_is_named_is_described_and_used() -> None:
    text = json_page.PAGE.read_text(encoding="utf-8")
    named = set(re.findall(r"\*(\w+)\*(?!:)", text)) - {"name"}
    assert named == set(SHAPES)


def test_every_command_that_answers_is_in_the_table() -> None:
    first = {words.replace("`", "") for cell, _ in json_page.commands() for words in cell.split(", ")}
    store = {f"store {name}" for name in ("backup", "check")}
    named = {re.sub(r" (--.*|[A-Z]+)$", "", words) for words in first} | store
    silent = {"completion", "help", "sandbox", "events listen"}
    assert {command for command in ENDINGS if command not in silent} <= named


def test_the_page_is_short() -> None:
    assert len(json_page.PAGE.read_text(encoding="utf-8").splitlines()) <= 260
