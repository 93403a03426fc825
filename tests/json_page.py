"""docs/json.md read as data, and JSON checked against it."""

import re
from collections.abc import Callable, Mapping
from datetime import date, datetime
from pathlib import Path
from typing import Any, NamedTuple

PAGE = Path(__file__).parents[1] / "docs" / "json.md"
_SHAPE = re.compile(r"^- \*(\w+)\*: (.*?)(?=^- |^$|\Z)", re.MULTILINE | re.DOTALL)
_PARENTS = re.compile(r"all of (\*\w+\*(?: and \*\w+\*)*)(?:, and )?")
_KEY = re.compile(r"`(\w+)` ((?:map of )?\[?\*?\w+\*?\]?)(\??)(?P<optional> \(only of [^)]*\))?(?=$|[:.])")
_ROW = re.compile(r"^\| (.*) \| (.*) \|$", re.MULTILINE)


class Key(NamedTuple):
    type: str
    may_be_null: bool
    is_optional: bool


class Shape(NamedTuple):
    """`own` keys are those that the shape adds to its parents'."""

    parents: tuple[str, ...]
    own: Mapping[str, Key]


def shapes() -> dict[str, Shape]:
    text = PAGE.read_text(encoding="utf-8")
    return {name: _shape(" ".join(body.split())) for name, body in _SHAPE.findall(text)}


def commands() -> list[tuple[str, str]]:
    """The rows of the table of commands: the first cell and the second."""
    return [row for row in _ROW.findall(PAGE.read_text(encoding="utf-8")) if row[0].startswith(("`", "any"))]


def _shape(body: str) -> Shape:
    parents = _PARENTS.match(body)
    rest = body[parents.end() :] if parents else body
    names = tuple(re.findall(r"\*(\w+)\*", parents[1])) if parents else ()
    return Shape(names, dict(map(_key, rest.split(" · "))) if rest else {})


def _key(words: str) -> tuple[str, Key]:
    match = _KEY.match(words)
    assert match, f"not a key with its type: {words!r}"
    return match[1], Key(match[2], bool(match[3]), bool(match["optional"]))


def keys_of(name: str, known: Mapping[str, Shape]) -> dict[str, Key]:
    """All keys of a shape, its parents' included."""
    keys: dict[str, Key] = {}
    for parent in known[name].parents:
        keys |= keys_of(parent, known)
    return {**keys, **known[name].own}


class Checker:
    """Compares JSON with the page. `seen`: the shapes that it met."""

    def __init__(self) -> None:
        self.shapes = shapes()
        self.seen: set[str] = set()

    def check(self, document: Any, type_: str) -> None:
        """`type_`: `*name*` or `[*name*]`. An object has the schema's version; a list and its objects do not."""
        if not type_.startswith("["):
            document = dict(document)
            assert document.pop("schema") == "1"
        self._check(document, type_, type_)

    def check_with(self, document: Mapping[str, Any], *names: str) -> None:
        """An object with the keys of several shapes, in a list."""
        keys: dict[str, Key] = {}
        for name in names:
            keys |= keys_of(name, self.shapes)
            self.seen.add(name)
        self._check_keys(document, keys, " and ".join(names))

    def _check(self, value: Any, type_: str, at: str) -> None:
        if type_.startswith("map of "):
            assert isinstance(value, dict), at
            for name, part in value.items():
                self._check(part, type_.removeprefix("map of "), f"{at}.{name}")
        elif type_.startswith("["):
            assert isinstance(value, list), at
            for part in value:
                self._check(part, type_[1:-1], f"{at}[]")
        elif type_.startswith("*"):
            name = type_.strip("*")
            self._meet(name)
            self._check_keys(value, keys_of(name, self.shapes), at)
        else:
            assert _TYPES[type_](value), f"{at} is {value!r}, not {type_}"

    def _meet(self, name: str) -> None:
        self.seen.add(name)
        for parent in self.shapes[name].parents:
            self._meet(parent)

    def _check_keys(self, value: Any, keys: Mapping[str, Key], at: str) -> None:
        needed = {name for name, key in keys.items() if not key.is_optional}
        assert needed <= set(value) <= set(keys), f"{at}: {set(value) ^ set(keys)}"
        for name, part in value.items():
            if part is None:
                assert keys[name].may_be_null, f"{at}.{name} is null"
            else:
                self._check(part, keys[name].type, f"{at}.{name}")


def _is_money(value: Any) -> bool:
    types = {"amount": str, "amount_minor": int, "currency": str}
    return set(value) == set(types) and all(type(value[name]) is kind for name, kind in types.items())


def _is_time(value: Any) -> bool:
    return str(value).endswith("Z") and datetime.fromisoformat(value).tzinfo is not None


def _is_day(value: Any) -> bool:
    return date.fromisoformat(value).isoformat() == str(value)


_TYPES: dict[str, Callable[[Any], bool]] = {
    "any": lambda value: True,
    "bool": lambda value: isinstance(value, bool),
    "code": lambda value: isinstance(value, str) and bool(value),
    "day": _is_day,
    "int": lambda value: type(value) is int,
    "money": _is_money,
    "object": lambda value: isinstance(value, dict),
    "text": lambda value: isinstance(value, str),
    "time": _is_time,
}
