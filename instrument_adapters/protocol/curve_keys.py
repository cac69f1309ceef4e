"""Key pairs that authenticate agent and instruments and encrypt their connection (CurveZMQ, Curve25519).

Each side has a public key, which is given to the other side, and a secret key, which it keeps. The files are certificates of
zmq, as read by `zmq.auth.load_certificate`. `NAME.key` holds the public key only and may be sent by e-mail; `NAME.key_secret`
holds both keys and is readable by its owner only.
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
    """A key cannot be created, or a file holds no key."""


@dataclass(frozen=True)
class KeyPair:
    """A public key and its secret key, 40 printable characters each."""

    public: bytes
    secret: bytes


@dataclass(frozen=True)
class ClientKeys:
    """Keys of an instrument: its own pair, and the public key of the only agent that it connects to."""

    own: KeyPair
    agent: bytes


def make_keys(name: str, folder: Path) -> tuple[Path, Path]:
    """Create a key pair and return its (public file, secret file); existing files are never overwritten.

    Parameters
    ----------
    name
        Name of the key. For an instrument it must be the `instrument_id`, because the agent accepts no other name with this key.
    folder
        Folder for both files; created if missing.

    Raises
    ------
    KeyFileError
        If the name is not valid for an instrument, one of the files exists, or the folder cannot be written.
    """
    if not ID_PATTERN.fullmatch(name):
        raise KeyFileError(f"{name!r} is not a valid key name; use letters, digits, '.', '_' and '-', as in mfp3d-1")
    public_file, secret_file = folder / f"{name}{PUBLIC}", folder / f"{name}{SECRET}"
    existing = next((path for path in (public_file, secret_file) if path.exists()), None)
    if existing is not None:
        raise KeyFileError(f"{existing} already exists; choose another name or folder, or remove the file if it is not used")
    import zmq  # imported here, so that reading a command line does not load it

    public, secret = (key.decode() for key in zmq.curve_keypair())
    text = _TEXT.format(public=public)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _write_new(secret_file, text + _SECRET_LINE.format(secret), 0o600)
        _write_new(public_file, text, 0o644)
    except OSError as error:
        raise KeyFileError(f"keys cannot be written to {folder}: {error.strerror}; choose another folder") from error
    return public_file, secret_file


def load_pair(path: Path) -> KeyPair:
    """The key pair in a secret file.

    Raises
    ------
    KeyFileError
        If the file is missing, holds no secret key, or other users may read it.
    """
    public, secret = _load(path)
    if secret is None:
        raise KeyFileError(f"{path} holds a public key only; give the file that ends in {SECRET}")
    if os.name == "posix" and path.stat().st_mode & 0o077:
        raise KeyFileError(f"{path} can be read by other users, so it is not secret; make new keys, or run chmod 600 {path}")
    return KeyPair(public, secret)


def load_public(path: Path) -> bytes:
    """The public key in a file.

    Raises
    ------
    KeyFileError
        If the file is missing or holds no key.
    """
    return _load(path)[0]


def load_allowed(folder: Path) -> dict[bytes, str]:
    """Public key -> file name without its suffix, for all `.key` files in a folder.

    Raises
    ------
    KeyFileError
        If there is no such folder, a file holds no key, or one key has two names.
    """
    if not folder.is_dir():
        raise KeyFileError(
            f"there is no folder {folder} of allowed keys; create it, and put the .key file of each instrument there"
        )
    names, problems = read_allowed(folder)
    for problem in problems.values():
        raise problem
    return names


def read_allowed(folder: Path) -> tuple[dict[bytes, str], dict[str, KeyFileError]]:
    """What can be read of a folder of allowed keys, and what cannot.

    Returns
    -------
    dict of bytes to str
        Public key -> name. A key in two files is not among them, because it is unclear whose it is.
    dict of str to KeyFileError
        Name -> why its file cannot be used.

    Raises
    ------
    KeyFileError
        If the folder cannot be read.
    """
    try:
        paths = sorted(path for path in folder.iterdir() if path.name.endswith(PUBLIC))
    except OSError as error:
        raise KeyFileError(
            f"the folder {folder} of allowed keys cannot be read: {error.strerror}; let the agent's user read it"
        ) from error
    owners: dict[bytes, list[str]] = {}
    problems: dict[str, KeyFileError] = {}
    for path in paths:
        name = path.name.removesuffix(PUBLIC)
        try:
            owners.setdefault(load_public(path), []).append(name)
        except KeyFileError as error:
            problems[name] = error
    for names in (several for several in owners.values() if len(several) > 1):
        same = f"{folder / names[-1]}{PUBLIC} and {names[0]}{PUBLIC} in the same folder hold the same key"
        problems |= dict.fromkeys(names, KeyFileError(f"{same}; give each instrument its own keys"))
    return {key: names[0] for key, names in owners.items() if len(names) == 1}, problems


def _load(path: Path) -> tuple[bytes, bytes | None]:
    import zmq.auth

    try:
        public, secret = zmq.auth.load_certificate(path)
        for key in (public, secret):
            if key is not None:
                zmq.curve_public(key)  # checks length and alphabet
    except (OSError, ValueError, IndexError, zmq.ZMQError) as error:  # IndexError: a key without a value
        why = error.strerror if isinstance(error, OSError) and error.strerror else "it holds no key"
        why = why if path.exists() else "there is no such file"
        raise KeyFileError(f"{path} cannot be used: {why}; create keys with: vaestar keygen NAME") from error
    return public, secret


def _write_new(path: Path, text: str, mode: int) -> None:
    """Create a file with its final permissions from the start; it must not exist."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(text)
