import os
import stat
from pathlib import Path

import pytest
import zmq.auth

from instrument_adapters.protocol.curve_keys import KeyFileError, load_allowed, load_pair, load_public, make_keys


def test_a_new_pair_is_read_back_and_by_zmq_too(tmp_path: Path) -> None:
    public, secret = make_keys("mfp3d-1", tmp_path / "keys")
    pair = load_pair(secret)
    assert load_public(public) == pair.public
    assert zmq.auth.load_certificate(secret) == (pair.public, pair.secret)
    assert zmq.auth.load_certificate(public) == (pair.public, None)
    assert zmq.curve_public(pair.secret) == pair.public
    assert pair.secret.decode() not in public.read_text()


@pytest.mark.skipif(os.name != "posix", reason="Windows has other file permissions")
def test_a_secret_is_readable_by_its_owner_only_and_refused_if_it_is_not(tmp_path: Path) -> None:
    _, secret = make_keys("afm", tmp_path)
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    secret.chmod(0o644)
    with pytest.raises(KeyFileError, match="can be read by other users"):
        load_pair(secret)


def test_nothing_is_ever_overwritten(tmp_path: Path) -> None:
    public, secret = make_keys("afm", tmp_path)
    before = public.read_bytes(), secret.read_bytes()
    with pytest.raises(KeyFileError, match="already exists"):
        make_keys("afm", tmp_path)
    assert (public.read_bytes(), secret.read_bytes()) == before


@pytest.mark.parametrize("line", ["public-key", "secret-key =", "public-key = short", 'secret-key = ""'])
def test_a_damaged_key_file_is_refused_in_one_sentence(line: str, tmp_path: Path) -> None:
    _, secret = make_keys("afm", tmp_path)
    kept = [old for old in secret.read_text().splitlines() if line[:6].strip() not in old]
    secret.write_text("\n".join([*kept, f"    {line}", ""]), encoding="utf-8")
    with pytest.raises(KeyFileError):
        load_pair(secret)


@pytest.mark.parametrize("name", ["", "../afm", "a b", "-afm", "x" * 97])
def test_a_name_that_no_instrument_can_have_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(KeyFileError, match="is not a valid key name"):
        make_keys(name, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_list_of_allowed_keys_is_that_of_the_public_files(tmp_path: Path) -> None:
    for name in ("afm-1", "afm-2"):
        make_keys(name, tmp_path)
    allowed = load_allowed(tmp_path)
    assert allowed == {load_public(tmp_path / f"{name}.key"): name for name in ("afm-1", "afm-2")}
    (tmp_path / "again.key").write_bytes((tmp_path / "afm-1.key").read_bytes())
    with pytest.raises(KeyFileError, match="hold the same key"):
        load_allowed(tmp_path)


@pytest.mark.parametrize("content", [b"", b'public-key = "short"', b"\xff\xfe", b'public-key = "' + b"~" * 40 + b'"'])
def test_a_file_without_a_key_is_refused_with_what_to_do(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "afm.key"
    path.write_bytes(content)
    for read in (load_public, lambda one: load_allowed(one.parent)):
        with pytest.raises(KeyFileError, match="vaestar keygen"):
            read(path)


def test_a_missing_file_or_key_is_named(tmp_path: Path) -> None:
    public, _ = make_keys("afm", tmp_path)
    with pytest.raises(KeyFileError, match="public key only"):
        load_pair(public)
    with pytest.raises(KeyFileError, match="cannot be used"):
        load_pair(tmp_path / "none.key_secret")
    with pytest.raises(KeyFileError, match="there is no folder"):
        load_allowed(tmp_path / "nowhere")
