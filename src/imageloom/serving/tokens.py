"""Bearer tokens (RFC 6750), of which the server knows only the hashes.

A token is 256 random bits, so that a plain SHA-256 keeps it: slow hashes are for passwords, which can be guessed.
"""

import hashlib
import hmac
import re
import secrets
from pathlib import Path

from imageloom import console, files
from imageloom.errors import ImageloomError

_PREFIX = "il_"  # by which a token that leaked into a log or a repository is found
_LINE = re.compile(r"([^\s:#][^\s:]{0,99}):([0-9a-f]{64})")


class Tokens:
    """The tokens of a file, a `NAME:SHA256` on each line; the file is read again when it has changed.

    Args:
        path: The file.

    Raises:
        ImageloomError: It is missing, or a line is of another kind.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[int, int] | None = None
        self._fault = ""
        self._hashes = _read(path)

    def owner(self, authorization: str) -> str | None:
        """Whose token the header `Authorization` holds; None where it holds none of them.

        Every hash is compared, in constant time, so that the time of the answer tells nothing.
        """
        self._refresh()
        scheme, _, token = authorization.partition(" ")
        given = hashlib.sha256(token.strip().encode("latin-1", "replace")).hexdigest()
        found = None
        for name, digest in self._hashes.items():
            if hmac.compare_digest(given, digest):
                found = name
        return found if scheme.lower() == "bearer" else None

    def _refresh(self) -> None:
        """Takes over what was added or withdrawn; a file that cannot be read now leaves what was known, and says so."""
        fault = ""
        try:
            status = self._path.stat()
            seen = status.st_mtime_ns, status.st_size
            if seen != self._seen:
                self._hashes, self._seen = _read(self._path), seen
        except OSError as lost:
            fault = f"cannot read {self._path}: {lost.strerror}"
        except ImageloomError as damaged:
            fault = damaged.message
        if fault and fault != self._fault:
            console.warn(f"{fault}; the tokens that were known before stay valid")
        self._fault = fault


def add(path: Path, name: str) -> str:
    """Adds a new token to a file, which is made where there is none.

    Returns:
        The token, which cannot be had again.

    Raises:
        ImageloomError: The name is taken or cannot be one, or the file cannot be written.
    """
    known = _read(path) if path.exists() else {}
    token = _PREFIX + secrets.token_urlsafe(32)
    line = f"{name}:{hashlib.sha256(token.encode()).hexdigest()}"
    if not _LINE.fullmatch(line):
        raise ImageloomError(
            f"{name!r} cannot name a token", "use up to 100 characters, without blanks or colons, and no # first"
        )
    if name in known:
        raise ImageloomError(f"{path} has a token {name!r}", "choose another name, or delete that line first")
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    separator = "" if not text or text.endswith("\n") else "\n"
    files.write_text(path, f"{text}{separator}{line}\n")
    path.chmod(0o600)
    return token


def _read(path: Path) -> dict[str, str]:
    """The hashes by their names; empty lines and those that begin with # say nothing."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as fault:
        reason = fault.strerror if isinstance(fault, OSError) else "not UTF-8"
        raise ImageloomError(
            f"cannot read {path}: {reason}", "`imageloom serve --tokens FILE --add-token NAME` makes one"
        ) from None
    hashes = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.startswith("#"):
            continue
        match = _LINE.fullmatch(line.strip())
        if match is None:
            raise ImageloomError(
                f"{path}:{number}: not NAME:SHA256", "`imageloom serve --tokens FILE --add-token NAME` adds a line"
            )
        hashes[match[1]] = match[2]
    return hashes
