"""Which settings files of working folders are trusted (DESIGN §5).

A folder and its `refundcli.toml` may be from a repository or an archive: such a file could send a prepared refund
with the operator's key, or a secret to a local port. So it is used only once the operator has trusted it. One file
for each trusted folder, named for its path, holds the hash of the content that was trusted.
"""

import hashlib
import hmac
import os
from enum import StrEnum
from pathlib import Path

from refundcli.private_files import make_folder, new_file
from refundcli.secrets import read_own_file
from refundcli.settings.errors import TrustNotRemembered

_FOLDER = "trusted"
_OTHERS_MAY_USE = 0o077
_LONGEST_RECORD = 64 * 1024


class Trust(StrEnum):
    GIVEN = "given"
    CHANGED = "changed"  # given for other content
    MISSING = "missing"


def trust_in(path: Path, content: bytes, user_config: Path | None) -> Trust:
    """Whether this content of this file is trusted. `user_config` is the user's own folder, None if there is none."""
    if user_config is None or not os.path.lexists(record_path := _record(path, user_config)):
        return Trust.MISSING
    trusted_hash = read_own_file(record_path, forbidden=_OTHERS_MAY_USE, limit=_LONGEST_RECORD).split(b" ", 1)[0]
    return Trust.GIVEN if hmac.compare_digest(trusted_hash, _hash(content)) else Trust.CHANGED


def remember_trust(path: Path, content: bytes, user_config: Path | None) -> None:
    """Trust this content of this file from now on. Raises TrustNotRemembered."""
    if user_config is None:
        raise TrustNotRemembered(path, "you have no home folder (HOME is not set)")
    record_path = _record(path, user_config)
    try:
        make_folder(record_path.parent)
        with new_file(record_path, replace=True) as file:
            file.write(_hash(content) + b"  " + os.fsencode(real_path(path)) + b"\n")
    except OSError as error:
        raise TrustNotRemembered(path, f"{record_path.parent}: {(error.strerror or str(error)).lower()}") from error


def real_path(path: Path) -> str:
    """The file's path without links in its folder. The file itself may be a link, and keeps its own path."""
    return os.path.join(os.path.realpath(path.parent), path.name)


def _record(path: Path, user_config: Path) -> Path:
    return user_config / _FOLDER / hashlib.sha256(os.fsencode(real_path(path))).hexdigest()


def _hash(content: bytes) -> bytes:
    return hashlib.sha256(content).hexdigest().encode()
