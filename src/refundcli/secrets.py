"""Secrets: references, look-up and redaction.

Settings contain references, never secrets: `env:NAME`, `keyring:NAME` or `file:PATH`. A secret is wrapped, so that
printing, logging or formatting it by mistake shows dots. `redact` also masks every secret of a command in all error
texts, because a driver or an SDK may repeat it.
"""

import hmac
import os
import re
import shlex
import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NoReturn
from urllib.parse import unquote, unquote_plus

from refundcli.domain.errors import SettingsProblem

MASK = "•••"
KEYRING_SERVICE = "refundcli"

_LONGEST_SECRET = 64 * 1024
_OTHERS_MAY_USE = 0o077
_REFERENCE = re.compile(r"env:[A-Za-z_][A-Za-z0-9_]*|keyring:[!-~]+|file:[^\x00-\x1f\x7f]+")
_FIT_FOR_A_HEADER = re.compile(r"[!-~]+")
_ADDRESS = re.compile(
    r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*://)(?:(?P<user>[^:/@]*)(?::(?P<password>[^@]*))?@)?"
    r"(?P<place>[^?]*)(?:\?(?P<options>.*))?",
    re.DOTALL,
)
# Only these options of a database's address are shown; any other may contain a password.
_SHOWN_OPTIONS = frozenset(
    [
        "host",
        "hostaddr",
        "port",
        "user",
        "dbname",
        "service",
        "sslmode",
        "sslrootcert",
        "sslcert",
        "target_session_attrs",
        "load_balance_hosts",
        "connect_timeout",
        "application_name",
        "channel_binding",
        "gssencmode",
    ]
)
# A shown option whose value is an address or further options, which libpq accepts for `dbname`.
_NESTED = re.compile(r"=|://|@")

# Shorter ones are test keys and common words; masking those makes errors unreadable.
_SHORTEST_KNOWN = 6
_KNOWN: set[str] = set()

# The first group of a pattern stays, the rest of the match is masked. Masking too much is the smaller error.
_REDACTIONS = (
    r"((?:sk|rk)_(?:org_)?(?:live|test)_)[A-Za-z0-9_]+",
    r"(whsec_)[A-Za-z0-9+/=_-]+",
    r"([A-Za-z][A-Za-z0-9+.-]*://[^\s/:@]*:)[^\s]+(?=@)",
    r"((?i:\b(?:password|passwd|pwd|sslpassword)\s?=\s?))[^\s&]+",
    r"((?i:\bx-api-key[\s:='\"]{1,4}))\S+",
    r"((?i:\bauthorization[\s:='\"]{1,4}(?:(?:bearer|basic)\s+)?))\S+",
)
# Adyen API keys; they may end with any character. An id of ours may contain AQE and must stay, to be copied.
_ADYEN_KEY = re.compile(r"(\b(?:rf|cl|cn|run)_[0-9A-Z]{26}\b)|(AQE)\S{12,}")


class Secret:
    """A text that is shown only by `reveal()`."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text
        remember_secret(text)

    def reveal(self) -> str:
        return self._text

    def __repr__(self) -> str:
        return MASK

    def __format__(self, spec: str) -> str:
        return format(MASK, spec)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self._text.encode(), other._text.encode())

    def __hash__(self) -> int:
        return hash(self._text)

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret cannot be pickled")


class LiteralSecret(SettingsProblem):
    """A secret instead of a reference. It is never repeated in the message."""

    code = "literal-secret"

    def __init__(self, key: str, origin: str) -> None:
        super().__init__(
            f"{key} in {origin} must say where the secret is, not what it is.",
            hint=(
                "Write env:NAME, keyring:NAME or file:PATH. If the key itself was in the settings file, get a "
                "new key from the provider."
            ),
            context={"key": key, "place": origin},
        )


class SecretNotInEnvironment(SettingsProblem):
    code = "secret-not-in-environment"

    def __init__(self, variable_name: str) -> None:
        super().__init__(
            f"The environment variable {variable_name} is not set, or empty.",
            hint=f"Set {variable_name}, or name another place for the secret in the settings.",
            context={"name": variable_name},
        )


class KeyringNotInstalled(SettingsProblem):
    code = "keyring-not-installed"

    def __init__(self, entry_name: str) -> None:
        super().__init__(
            f"keyring:{entry_name} needs the keyring package, which is not installed.",
            hint="pip install 'refundcli[keyring]', or use env:NAME or file:PATH.",
            context={"name": entry_name},
        )


class KeyringUnavailable(SettingsProblem):
    code = "keyring-unavailable"

    def __init__(self, entry_name: str) -> None:
        super().__init__(
            f"keyring:{entry_name} cannot be read: the keyring is locked, or there is none on this machine.",
            hint="Unlock the keyring, or use env:NAME or file:PATH.",
            context={"name": entry_name},
        )


class SecretNotInKeyring(SettingsProblem):
    code = "secret-not-in-keyring"

    def __init__(self, entry_name: str) -> None:
        super().__init__(
            f"The keyring holds nothing under {KEYRING_SERVICE} / {entry_name}.",
            hint=f"keyring set {KEYRING_SERVICE} {entry_name}",
            context={"name": entry_name},
        )


class EmptySecret(SettingsProblem):
    code = "empty-secret"

    def __init__(self, reference: str) -> None:
        super().__init__(f"{reference} is empty.", hint="Store the secret there.", context={"reference": reference})


class MalformedSecret(SettingsProblem):
    code = "malformed-secret"

    def __init__(self, reference: str) -> None:
        super().__init__(
            f"The secret in {reference} has spaces, control characters or letters that a key cannot contain.",
            hint="Copy the key again, with nothing else, on one line.",
            context={"reference": reference},
        )


class FileNotReadable(SettingsProblem):
    code = "file-not-readable"

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(
            f"{path} cannot be read: {why}.",
            hint="Check the path, and that the file is yours.",
            context={"file": str(path)},
        )


class FileTooLarge(SettingsProblem):
    code = "file-too-large"

    def __init__(self, path: Path, limit: int) -> None:
        super().__init__(
            f"{path} is larger than {limit:,} bytes.",
            hint="Check the path.",
            context={"file": str(path), "limit": limit},
        )


class FileOwnedByOther(SettingsProblem):
    code = "file-owned-by-other"

    def __init__(self, path: Path) -> None:
        super().__init__(
            f"{path} belongs to another user, who can change it.",
            hint=f"Make yourself its owner: chown $(id -u) {shlex.quote(str(path))}",
            context={"file": str(path)},
        )


class FileOpenToOthers(SettingsProblem):
    code = "file-open-to-others"

    def __init__(self, path: Path, mode: int, forbidden_bits: int) -> None:
        verb, mode_change = ("read", "go=") if forbidden_bits & 0o044 else ("change", "go-w")
        super().__init__(
            f"Other users may {verb} {path} (mode {mode:04o}).",
            hint=f"chmod {mode_change} {shlex.quote(str(path))}",
            context={"file": str(path), "mode": f"{mode:04o}"},
        )


def is_reference(text: str) -> bool:
    """Is the text a reference? `env:sk_live_…` is a secret with a prefix, not a reference."""
    return _REFERENCE.fullmatch(text) is not None and _without_patterns(text) == text


def resolve(reference: str, *, environ: Mapping[str, str]) -> Secret:
    """Look up the secret. No message contains the secret itself."""
    if not is_reference(reference):
        raise LiteralSecret("A secret", "the settings")
    kind, _, secret_name = reference.partition(":")
    stored_text = _from_environment(secret_name, environ) if kind == "env" else _FETCH[kind](secret_name)
    secret_text = stored_text.removesuffix("\n").removesuffix("\r")
    if not secret_text:
        raise EmptySecret(reference)
    if not _FIT_FOR_A_HEADER.fullmatch(secret_text):
        raise MalformedSecret(reference)
    return Secret(secret_text)


def redact(text: str) -> str:
    """The text with every known secret masked, and everything that looks like one: keys, passwords in addresses."""
    text = _without_patterns(text)
    if _KNOWN:
        pattern = "|".join(re.escape(secret) for secret in sorted(_KNOWN, key=len, reverse=True))
        # Not inside a longer word, because a password may be a common word; but also after an escape such as `%2F`.
        text = re.sub(rf"(?:(?<![A-Za-z0-9])|(?<=%[0-9A-F]{{2}}))(?:{pattern})(?![A-Za-z0-9])", MASK, text)
    return text


def _without_patterns(text: str) -> str:
    for pattern in _REDACTIONS:
        text = re.sub(pattern, rf"\g<1>{MASK}", text)
    return _ADYEN_KEY.sub(lambda match: match[1] or f"{match[2]}{MASK}", text)


def remember_secret(text: str) -> None:
    """Let `redact` mask it, also as Python or an address would write it."""
    spellings = {text, unquote(text), unquote_plus(text), repr(text)[1:-1]}
    _KNOWN.update(spelling for spelling in spellings if len(spelling) >= _SHORTEST_KNOWN)


def remember_secrets_of_address(address: str) -> None:
    """Let `redact` mask the passwords in a database's address."""
    for part in _secret_parts(address):
        remember_secret(part)


def forget_secrets() -> None:
    """Forget all secrets, before another command in the same process."""
    _KNOWN.clear()


def shown_address(address: str) -> str:
    """A store's address without secrets. A file's is shown whole; of a database's, only what cannot be a secret."""
    match = _ADDRESS.fullmatch(address)
    if not match or match["scheme"] == "sqlite://":
        return redact(address)
    user = match["user"] or ""
    login = f"{user}:{MASK}@" if match["password"] is not None else f"{user}@" if user else ""
    host_part, options = match["place"], match["options"]
    if _NESTED.search(unquote_plus(host_part)):
        host_part = MASK
    options_shown = [_shown_option(option) for option in _options(options)]
    return redact(match["scheme"] + login + host_part + (f"?{'&'.join(options_shown)}" if options_shown else ""))


def _secret_parts(address: str) -> list[str]:
    match = _ADDRESS.fullmatch(address)
    if not match or match["scheme"] == "sqlite://":
        return []
    hidden_values = [
        option.partition("=")[2] for option in _options(match["options"]) if _shown_option(option) != option
    ]
    nested_address = [match["place"]] if _NESTED.search(unquote_plus(match["place"])) else []
    return [part for part in (match["password"], *hidden_values, *nested_address) if part]


def _options(text: str | None) -> list[str]:
    return [option for option in (text or "").split("&") if option]


def _shown_option(option: str) -> str:
    name, equals, value = option.partition("=")
    is_shown = unquote_plus(name) in _SHOWN_OPTIONS and not _NESTED.search(unquote_plus(value))
    return option if is_shown else f"{name}{equals}{MASK}"


def read_own_file(path: Path, *, forbidden: int, limit: int) -> bytes:
    """The bytes of a regular file that is ours (or root's) and has none of the `forbidden` mode bits.

    All checks are on the open file, so that it cannot be replaced between check and read.
    """
    try:
        with open(path, "rb", opener=_open_without_waiting) as file:
            _check_own_file(path, os.fstat(file.fileno()), forbidden)
            content = file.read(limit + 1)
    except OSError as error:
        raise FileNotReadable(path, (error.strerror or "unknown reason").lower()) from error
    if len(content) > limit:
        raise FileTooLarge(path, limit)
    return content


def _open_without_waiting(path: str, flags: int) -> int:
    """Open without blocking on a named pipe in the file's place."""
    return os.open(path, flags | os.O_NONBLOCK)


def _check_own_file(path: Path, file_status: os.stat_result, forbidden_bits: int) -> None:
    if not stat.S_ISREG(file_status.st_mode):
        raise FileNotReadable(path, "it is not a file")
    if file_status.st_uid not in {os.geteuid(), 0}:
        raise FileOwnedByOther(path)
    if file_status.st_mode & forbidden_bits:
        raise FileOpenToOthers(path, stat.S_IMODE(file_status.st_mode), forbidden_bits)


def _from_environment(variable_name: str, environ: Mapping[str, str]) -> str:
    secret_text = environ.get(variable_name, "")
    if not secret_text:
        raise SecretNotInEnvironment(variable_name)
    return secret_text


def _from_file(file_name: str) -> str:
    path = Path(os.path.expanduser(file_name))
    content = read_own_file(path, forbidden=_OTHERS_MAY_USE, limit=_LONGEST_SECRET)
    try:
        return content.decode("ascii")
    except UnicodeDecodeError:
        raise MalformedSecret(f"file:{file_name}") from None  # the cause would contain the bytes


def _from_keyring(entry_name: str) -> str:
    try:
        import keyring  # optional, and slow to import
        from keyring.errors import KeyringError
    except ImportError as error:
        raise KeyringNotInstalled(entry_name) from error
    try:
        secret: str | None = keyring.get_password(KEYRING_SERVICE, entry_name)
    except KeyringError as error:
        raise KeyringUnavailable(entry_name) from error
    if secret is None:
        raise SecretNotInKeyring(entry_name)
    return secret


_FETCH: Mapping[str, Callable[[str], str]] = {"file": _from_file, "keyring": _from_keyring}
