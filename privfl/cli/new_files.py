"""Files that a command makes: never in the place of others, and whole or not there."""

from __future__ import annotations

import os
from pathlib import Path

from privfl.errors import ConfigurationError


def write_new(path: Path, content: bytes, *, mode: int) -> None:
    """Write a file that must not exist, with its permissions from the first byte on.

    Raises:
        ConfigurationError: it exists, or cannot be written; nothing is left of it.
    """
    try:
        file = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode)
    except FileExistsError:
        raise ConfigurationError(f"{path} exists already: name another file") from None
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be written: {error.strerror}") from None
    try:
        with os.fdopen(file, "wb") as opened:
            opened.write(content)
    except BaseException as error:
        path.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise ConfigurationError(f"{path} cannot be written: {error.strerror}") from None
        raise


def write_pair(path: Path, secret: bytes, suffix: str, content: bytes) -> Path:
    """Write a private key, readable by its owner only, and beside it what is public of it: both or neither.

    Args:
        path: the private key's.
        secret: the private key.
        suffix: of the public file.
        content: the public file's.

    Returns:
        The public file.

    Raises:
        ConfigurationError: one of them exists, or cannot be written; nothing is left of either.
    """
    if not path.name or path.suffix == suffix:
        raise ConfigurationError(f"{path} is no name for a private key, as its public part ends in {suffix}: a.pem is")
    public = path.with_suffix(suffix)
    write_new(path, secret, mode=0o600)
    try:
        write_new(public, content, mode=0o644)
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    return public
