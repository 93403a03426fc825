"""Strings from outside, made safe to show.

A customer's name or a provider's message may hold characters that move the cursor, retitle the window, turn
the reading direction or hide a digit. None of them may act: each is shown as the escape that names it.
"""

import re
from functools import cache

_C0_AND_DEL = r"\x00-\x1f\x7f"

# Everything that acts or hides without being seen, beyond ASCII. Ranges, for a regular expression class.
_UNSEEN = (
    r"\x80-\x9f"  # C1: 8-bit terminals take \x9b for ESC [
    r"\u00ad\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\uffa0"  # soft hyphen, joiners, fillers
    r"\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # bidi: marks, embeddings, overrides, isolates
    r"\u200b-\u200d\u2060-\u2065\u206a-\u206f\ufeff"  # zero width
    r"\u2028\u2029\ufff9-\ufffb"  # line and paragraph separators, annotations
    r"\ud800-\udfff"  # lone surrogates cannot be encoded
    r"\U000e0000-\U000e00ff\U000e01f0-\U000e0fff"  # tags spell hidden text
)

# A variation selector is seen through the character it changes: a symbol's colour, a Han character's form.
# After anything else, or after another selector, it carries hidden text.
_STRAY_SELECTOR = (
    r"(?<![\u00a9\u00ae\u203c\u2049\u2100-\u2bff\u3030\u303d\u3297\u3299\U0001f000-\U0001faff])[\ufe0e\ufe0f]"
    r"|[\ufe00-\ufe0d]"
    r"|(?<![\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff])[\U000e0100-\U000e01ef]"
)

_UNSEEN_OR_STRAY = rf"[{_UNSEEN}]|{_STRAY_SELECTOR}"
_UNSAFE = rf"[{_C0_AND_DEL}{_UNSEEN}]|{_STRAY_SELECTOR}"
_UNSAFE_ON_LINES = rf"[\x00-\x09\x0b-\x1f\x7f{_UNSEEN}]|{_STRAY_SELECTOR}"
_UNSAFE_IN_JSON = rf"\x7f|{_UNSEEN_OR_STRAY}"
# Each takes milliseconds to compile, and a command needs one of them.
_compiled = cache(re.compile)

_SHORT = {"\t": r"\t", "\n": r"\n", "\r": r"\r"}


def safe(text: str, *, multiline: bool = False) -> str:
    r"""The text with every character that could act on a terminal, or hide in it, as a visible escape.

    One line unless `multiline`, which keeps newlines (CRLF becomes one). Clean text comes back as it is.
    """
    if text.isascii() and text.isprintable():
        # Most words, and a long list has millions: far sooner than by the expression, which need not be made then.
        return text
    if multiline:
        return _compiled(_UNSAFE_ON_LINES).sub(_escape, text.replace("\r\n", "\n"))
    return _compiled(_UNSAFE).sub(_escape, text)


def escape_in_json(document: str) -> str:
    r"""A JSON document with unseen characters as `\uXXXX`, which a reader turns back: nothing is lost."""
    if document.isascii() and "\x7f" not in document:
        return document
    return _compiled(_UNSAFE_IN_JSON).sub(_escape_for_json, document)


def as_json_escapes(text: str) -> str:
    r"""Each character as `\uXXXX`, those beyond the first plane as two of them."""
    utf16_bytes = text.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{utf16_bytes[offset : offset + 2].hex()}" for offset in range(0, len(utf16_bytes), 2))


def _escape(match: re.Match[str]) -> str:
    character = match.group()
    code_point = ord(character)
    if character in _SHORT:
        return _SHORT[character]
    if code_point <= 0xFF:
        return f"\\x{code_point:02x}"
    return f"\\u{code_point:04x}" if code_point <= 0xFFFF else f"\\U{code_point:08x}"


def _escape_for_json(match: re.Match[str]) -> str:
    return as_json_escapes(match.group())
