"""Run names: rows 48 to 52 of the table of bad inputs."""

import os
from pathlib import Path

import pytest

from gnncomm.errors import UnsafePathError
from gnncomm.store import safe_run_path

BAD_NAMES = [
    "../../x", "/etc/passwd", "a/../../b", "..", ".", "",
    "a\0b", "a\nb", "a\u202eb", "a.", "a ", "CON", "con.txt", "lpt1", "x" * 300, "-rf", "~root", "$(x)",
    "runs/..", "runs/../x", "./..", "/", "/dev/zero", "/usr/lib/x", "/proc/self/x", "a b", "a\\b", "-a/b", "~/x",
    ".hidden", "x/.hidden/y", "ünicode", "a\u200bb", "/tmp/a/../b", "/tmp/-rf", "/tmp/CON", "\ud800",
]  # fmt: skip


@pytest.mark.parametrize("name", BAD_NAMES, ids=ascii)
def test_unsafe_names_are_refused(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UnsafePathError, match="Run "):
        safe_run_path(name)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("first", "runs/first"),
        ("runs/first", "runs/first"),
        ("./runs/first/", "runs/first"),
        ("sweeps/a/b-1.2_c", "sweeps/a/b-1.2_c"),
        ("A" * 64, "runs/" + "A" * 64),
        ("console", "runs/console"),
        ("lr=0.1,seed=3", "runs/lr=0.1,seed=3"),
    ],
)
def test_names_mean_places(given: str, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert safe_run_path(given) == Path(expected)
    assert safe_run_path(safe_run_path(given)) == Path(expected)


def test_an_absolute_path_is_taken_as_given(tmp_path: Path) -> None:
    assert safe_run_path(tmp_path / "not" / "yet" / "run") == tmp_path / "not" / "yet" / "run"
    assert safe_run_path("name", base=tmp_path) == tmp_path / "name"


def test_links_out_of_the_directory_are_refused_and_links_within_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outside = tmp_path / "outside"
    home = tmp_path / "home"
    outside.mkdir()
    (home / "runs" / "real").mkdir(parents=True)
    monkeypatch.chdir(home)
    os.symlink(outside, "runs/leaves")
    os.symlink(outside, "elsewhere")
    os.symlink("real", "runs/stays")
    for name in ("leaves", "runs/leaves", "elsewhere/run", home / "runs" / "leaves"):
        with pytest.raises(UnsafePathError, match="symbolic link"):
            safe_run_path(name)
    assert safe_run_path("stays") == Path("runs/stays")


def test_a_linked_base_is_the_users_choice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "scratch").mkdir()
    (tmp_path / "home").mkdir()
    monkeypatch.chdir(tmp_path / "home")
    os.symlink(tmp_path / "scratch", "runs")
    assert safe_run_path("runs/x") == Path("runs/x")


def test_files_and_fifos_are_no_run_directories(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    os.mkfifo(tmp_path / "fifo")
    for name in ("file", "fifo"):
        with pytest.raises(UnsafePathError, match="expected a directory"):
            safe_run_path(tmp_path / name)


def test_names_that_differ_only_in_case_are_refused(tmp_path: Path) -> None:
    (tmp_path / "Alpha").mkdir()
    assert safe_run_path(tmp_path / "Alpha") == tmp_path / "Alpha"
    with pytest.raises(UnsafePathError, match="only in case"):
        safe_run_path(tmp_path / "alpha")


def test_a_run_beside_the_current_directory_may_be_read_but_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "notebooks").mkdir()
    monkeypatch.chdir(tmp_path / "notebooks")
    assert safe_run_path("../runs/first", parents=True) == tmp_path.resolve() / "runs" / "first"
    for name in ("../runs/../x", "runs/../../x", "../" * 40 + "etc/x", "../-rf"):
        with pytest.raises(UnsafePathError):
            safe_run_path(name, parents=True)
    with pytest.raises(UnsafePathError):
        safe_run_path("../runs/first")
