"""New files in folders to which others may write."""

import stat
from pathlib import Path

import pytest

from instrument_adapters.new_file import open_new


@pytest.mark.parametrize("left", ["nothing", "a file", "a link", "a link to nothing"])
def test_a_new_file_takes_the_place_of_whatever_had_its_name_and_leaves_the_target_of_a_link(tmp_path: Path, left: str) -> None:
    path, target = tmp_path / "new", tmp_path / "target"
    target.write_text("mine")
    if left == "a file":
        path.write_text("older and longer")
    elif left != "nothing":
        path.symlink_to(target if left == "a link" else tmp_path / "absent")
    with open_new(path, 0o600) as file:
        file.write(b"new")
    assert (path.read_text(), target.read_text(), path.is_symlink()) == ("new", "mine", False)
    assert not (tmp_path / "absent").exists()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_link_that_is_put_there_in_the_meantime_is_not_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, target = tmp_path / "new", tmp_path / "target"
    target.write_text("mine")
    path.symlink_to(target)
    monkeypatch.setattr(Path, "unlink", lambda *_, **__: None)  # as if the link were put there right after the removal
    with pytest.raises(FileExistsError):
        open_new(path)
    assert target.read_text() == "mine"
