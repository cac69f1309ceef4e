"""Keys: who may talk to the agent, and who the agent is.

Each side has a pair, a public key that the other side is given and a secret one that it keeps (CurveZMQ, Curve25519). Files are
those of zmq's own certificates, so that `zmq.auth.load_certificate` reads them: `NAME.key` holds the public key alone and may be
mailed, `NAME.key_secret` holds both and is readable by its owner only.
"""

import os
from dataclasses import dataclass
from pathlib import Path

from instrument_adapters.errors import AdapterError
from instrument_adapters.protocol.messages import ID_PATTERN

PUBLIC, SECRET = ".key", ".key_secret"
_TEXT = 'metadata\ncurve\n    public-key = "{public}"\n'
_SECRET_LINE = '    secret-key = "{}"\n'  # noqa: S105 - a format


class KeyFileError(AdapterError, OSError):
    """A key cannot be made, or a file holds none."""


@dataclass(frozen=True)
class Pair:
    """A public and a secret key, 40 printable characters each."""

    public: bytes
    secret: bytes


@dataclass(frozen=True)
class ClientKeys:
    """What an instrument needs: its own pair, and the agent's public key, so that it talks to no other."""

    own: Pair
    agent: bytes


def make_keys(name: str, folder: Path) -> tuple[Path, Path]:
    """(public file, secret file) of a new pair; an existing one is never overwritten.

    Parameters
    ----------
    name
        Of an instrument: its `instrument_id`, since an instrument may speak under the name of its key only.
    folder
        Made if missing.

    Raises
    ------
    KeyFileError
        If the name cannot be that of an instrument, a file of the name is there already, or the folder cannot be written.
    """
    if not ID_PATTERN.fullmatch(name):
        raise KeyFileError(f"{name!r} cannot name a key; give letters, digits, '.', '_' and '-', such as mfp3d-1")
    public_file, secret_file = folder / f"{name}{PUBLIC}", folder / f"{name}{SECRET}"
    there = next((path for path in (public_file, secret_file) if path.exists()), None)
    if there is not None:
        raise KeyFileError(f"{there} is there already; choose another name or folder, or remove it if nobody uses it")
    import zmq  # here, so that a command line is read without it

    public, secret = (key.decode() for key in zmq.curve_keypair())
    text = _TEXT.format(public=public)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _write_new(secret_file, text + _SECRET_LINE.format(secret), 0o600)
        _write_new(public_file, text, 0o644)
    except OSError as error:
        raise KeyFileError(f"keys cannot be written to {folder}: {error.strerror}; choose another folder") from error
    return public_file, secret_file


def load_pair(path: Path) -> Pair:
    """The pair in a secret file.

    Raises
    ------
    KeyFileError
        If the file is missing, holds no secret key, or may be read by others.
    """
    public, secret = _load(path)
    if secret is None:
        raise KeyFileError(f"{path} holds a public key only; give the file that ends in {SECRET}")
    if os.name == "posix" and path.stat().st_mode & 0o077:
        raise KeyFileError(f"{path} may be read by others than its owner, so it is no secret; make new keys, or chmod 600 {path}")
    return Pair(public, secret)


def load_public(path: Path) -> bytes:
    """The public key in a file.

    Raises
    ------
    KeyFileError
        If the file is missing or holds no key.
    """
    return _load(path)[0]


def load_allowed(folder: Path) -> dict[bytes, str]:
    """Public key -> name of its file without the ending, of all `.key` files in a folder.

    Raises
    ------
    KeyFileError
        If there is no such folder, a file holds no key, or one key has two names.
    """
    if not folder.is_dir():
        raise KeyFileError(
            f"there is no folder {folder} of allowed keys; make it, and put the .key file of each instrument there"
        )
    names: dict[bytes, str] = {}
    for path in sorted(folder.glob(f"*{PUBLIC}")):
        key = load_public(path)
        if key in names:
            raise KeyFileError(
                f"{path} and {names[key]}{PUBLIC} beside it hold the same key; give each instrument keys of its own"
            )
        names[key] = path.name.removesuffix(PUBLIC)
    return names


def _load(path: Path) -> tuple[bytes, bytes | None]:
    import zmq.auth

    try:
        public, secret = zmq.auth.load_certificate(path)
        for key in (public, secret):
            if key is not None:
                zmq.curve_public(key)  # checks length and alphabet
    except (OSError, ValueError, IndexError, zmq.ZMQError) as error:  # IndexError: a key without its value
        why = error.strerror if isinstance(error, OSError) and error.strerror else "it holds no key"
        raise KeyFileError(f"{path} cannot be used: {why}; make keys with: vaestar keygen NAME") from error
    return public, secret


def _write_new(path: Path, text: str, mode: int) -> None:
    """Write a file that was not there, with its rights from the first byte on."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(text)
