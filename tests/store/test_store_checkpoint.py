"""Checkpoints: what goes in comes out bit for bit, and rows 50 and 53 to 62 of the table of bad inputs."""

from __future__ import annotations

import json
import os
import pickle
import sys
import time
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from gnncomm.errors import (
    CheckpointCorruptError,
    CheckpointError,
    CheckpointMismatchError,
    CheckpointVersionError,
    ConfigError,
    GnnCommError,
    NonFiniteError,
    UnsafeContentError,
    UnsafePathError,
)
from gnncomm.store import latest_checkpoint, list_checkpoints, load_checkpoint, require_match, save_checkpoint
from gnncomm.store.manifest import FileEntry, Manifest
from gnncomm.store.tensors import MAX_HEADER_BYTES

STATE = {"epoch": 3, "lr": 0.1 + 0.2, "seed": 2**63 - 1, "name": "caf\xe9 \u2028", "list": [1, None, True], "empty": {}}


def groups(step: int) -> dict[str, dict[str, Tensor]]:
    generator = torch.Generator().manual_seed(step)
    return {
        "model": {"encoder.weight": torch.randn(7, 5, generator=generator), "encoder.bias": torch.zeros(7)},
        "optimizer": {"0.exp_avg": torch.randn(7, 5, generator=generator), "0.step": torch.tensor(float(step))},
        "env": {
            "pos": torch.randint(0, 9, (4, 3, 2), generator=generator),
            "alive": torch.ones(4, 3, dtype=torch.bool),
        },
    }


def forge(path: Path, name: str, raw: bytes) -> None:
    """Put other bytes into a checkpoint, with hashes that agree: what an attacker can do."""
    data = json.loads((path / "manifest.json").read_bytes())
    (path / name).write_bytes(raw)
    files = {key: FileEntry.of((path / key).read_bytes()) for key in {*data["files"], name}}
    (path / "manifest.json").write_bytes(Manifest(data["step"], files, data["versions"]).to_bytes())


def edit(path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    data = json.loads((path / "manifest.json").read_bytes())
    change(data)
    (path / "manifest.json").write_text(json.dumps(data))


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    return save_checkpoint(tmp_path, 4, groups(4), STATE)


def test_what_goes_in_comes_out(saved: Path, tmp_path: Path) -> None:
    assert saved == tmp_path / "checkpoints" / "step_4"
    assert sorted(os.listdir(saved)) == sorted(
        ["env.safetensors", "manifest.json", "model.safetensors", "optimizer.safetensors", "state.json"]
    )
    found = load_checkpoint(saved)
    assert (found.step, found.state, found.path) == (4, STATE, saved)
    assert found.versions["torch"] == torch.__version__
    assert {name: sorted(group) for name, group in found.tensors.items()} == {
        name: sorted(group) for name, group in groups(4).items()
    }
    for name, group in groups(4).items():
        for key, tensor in group.items():
            assert torch.equal(found.group(name)[key], tensor)
            assert found.group(name)[key].dtype == tensor.dtype
            assert found.group(name)[key].shape == tensor.shape


def test_every_kind_of_tensor(tmp_path: Path) -> None:
    base = torch.arange(12.0).view(3, 4)
    tensors = {
        "half": torch.tensor([1.5, -0.0, 6e-8], dtype=torch.float16),
        "brain": torch.tensor([1.5, 3e38], dtype=torch.bfloat16),
        "double": torch.tensor(0.1, dtype=torch.float64),
        "long": torch.tensor([-(2**63), 2**63 - 1]),
        "byte": torch.tensor([0, 255], dtype=torch.uint8),
        "bool": torch.tensor(True),
        "none": torch.empty(0, 3),
        "transposed": base.T,
        "column": base[:, 1],
        "expanded": torch.ones(1).expand(5),
        "shared": base,
        "shared again": base,
        "view": base[1],
        "parameter": torch.nn.Parameter(torch.ones(2)),
        "\u00fc \U0001f600": torch.ones(1),
    }
    found = load_checkpoint(save_checkpoint(tmp_path, 0, {"model": tensors, "nothing": {}}, {})).tensors
    assert found["nothing"] == {}
    assert found["model"].keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert torch.equal(found["model"][name], tensor), name
        assert found["model"][name].dtype == tensor.dtype
    assert torch.signbit(found["model"]["half"][1])
    found["model"]["shared"].zero_()  # writable, and nobody else's memory
    assert torch.equal(found["model"]["shared again"], base)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_non_finite_weights_are_neither_saved_nor_loaded(bad: float, saved: Path, tmp_path: Path) -> None:
    broken = groups(5)
    broken["model"]["encoder.bias"][2] = bad
    with pytest.raises(NonFiniteError, match=r"1 of 7 entries of 'encoder.bias'"):
        save_checkpoint(tmp_path, 5, broken, STATE)
    assert os.listdir(tmp_path / "checkpoints") == ["step_4"]
    hidden = groups(5)
    hidden["optimizer"]["0.exp_avg"][0, 0] = bad  # allowed there: an optimiser may use infinity on purpose
    newer = save_checkpoint(tmp_path, 5, hidden, STATE)
    forge(newer, "model.safetensors", (newer / "optimizer.safetensors").read_bytes())
    with pytest.raises(NonFiniteError, match=r"model.safetensors.*'0.exp_avg'"):
        load_checkpoint(newer)
    assert latest_checkpoint(tmp_path)[0].step == 4


@pytest.mark.parametrize(
    ("tensors", "state", "step", "message"),
    [
        ({"../x": {}}, {}, 1, "Group '../x'"),
        ({"Model": {}}, {}, 1, "Group 'Model'"),
        ({"model": {"__metadata__": torch.ones(1)}}, {}, 1, "'__metadata__'"),
        ({"model": {"a": torch.ones(1, dtype=torch.complex64)}}, {}, 1, "complex64"),
        ({"model": {"a": torch.eye(2).to_sparse()}}, {}, 1, "sparse"),
        ({"model": {"a": torch.empty(2, device="meta")}}, {}, 1, "meta"),
        ({"model": {"a": 1.0}}, {}, 1, "'a' is float"),
        ({}, {"a": float("nan")}, 1, "state"),
        ({}, {"a": {1, 2}}, 1, "state"),
        ({}, {"a": {1: 2}}, 1, "text as keys"),
        ({}, {"a": (1, 2)}, 1, "tuples"),
        ({}, {}, -1, "step"),
        ({}, {}, True, "step"),
        ({}, {}, 1.0, "step"),
    ],
)
def test_what_cannot_be_stored_is_refused_before_anything_is_written(
    tensors: dict[str, Any], state: dict[str, Any], step: Any, message: str, tmp_path: Path
) -> None:
    with pytest.raises(CheckpointError, match=message):
        save_checkpoint(tmp_path, step, tensors, state)
    assert os.listdir(tmp_path) == []
    with pytest.raises(ConfigError, match="keep_last"):
        save_checkpoint(tmp_path, 1, {}, {}, keep_last=0)


def test_only_the_newest_are_kept_and_order_is_by_number(tmp_path: Path) -> None:
    for step in (2, 8, 9, 10, 11):
        save_checkpoint(tmp_path, step, groups(step), {}, keep_last=3)
    assert [step for step, _ in list_checkpoints(tmp_path)] == [9, 10, 11]
    assert latest_checkpoint(tmp_path)[0].step == 11
    save_checkpoint(tmp_path, 5, groups(5), {}, keep_last=1)  # never the one just saved, nor newer ones
    assert [step for step, _ in list_checkpoints(tmp_path)] == [5, 9, 10, 11]


def test_a_checkpoint_is_never_replaced(saved: Path, tmp_path: Path) -> None:
    before = {file.name: file.read_bytes() for file in saved.iterdir()}
    assert save_checkpoint(tmp_path, 4, groups(4), STATE) == saved
    with pytest.raises(CheckpointError, match="holds something else"):
        save_checkpoint(tmp_path, 4, groups(5), STATE)
    assert {file.name: file.read_bytes() for file in saved.iterdir()} == before
    (saved / "manifest.json").unlink()
    with pytest.raises(CheckpointError, match="holds something else"):
        save_checkpoint(tmp_path, 4, groups(4), STATE)


def test_a_missing_group_is_named(saved: Path) -> None:
    assert load_checkpoint(saved).group("model").keys() == {"encoder.weight", "encoder.bias"}
    with pytest.raises(CheckpointError, match=r"holds no 'critic'.*env, model, optimizer"):
        load_checkpoint(saved).group("critic")


def test_no_checkpoint_at_all(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(CheckpointError, match="none was saved yet") as caught:
            latest_checkpoint(path)
        assert caught.value.exit_code == 66
    with pytest.raises(CheckpointError, match="no checkpoint at"):
        load_checkpoint(tmp_path / "nowhere")
    with pytest.raises(CheckpointError, match="Could not save") as caught:
        save_checkpoint(tmp_path / "nowhere", 1, {}, {})
    assert caught.value.exit_code == 74


@pytest.mark.parametrize("kind", ["zip", "pickle", "html", "png"])
def test_other_files_are_no_checkpoints(kind: str, saved: Path, tmp_path: Path) -> None:
    file = tmp_path / "model.ckpt"
    file.write_bytes(
        {"html": b"<!doctype html>", "png": b"\x89PNG\r\n\x1a\n", "pickle": pickle.dumps({})}.get(kind, b"")
    )
    if kind == "zip":
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("data.pkl", pickle.dumps({}))
    with pytest.raises(CheckpointError, match="not a gnncomm checkpoint"):
        load_checkpoint(file)
    (saved / "manifest.json").write_bytes(file.read_bytes())
    with pytest.raises(CheckpointCorruptError, match=r"manifest.json .*not a gnncomm checkpoint"):
        load_checkpoint(saved)


@pytest.mark.parametrize("name", ["model.safetensors", "state.json", "manifest.json"])
@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99, 1.0])
def test_truncated_files_are_named(name: str, share: float, saved: Path) -> None:
    raw = (saved / name).read_bytes()
    (saved / name).write_bytes(raw[: min(int(len(raw) * share), len(raw) - 1)])
    with pytest.raises(CheckpointCorruptError, match=name):
        load_checkpoint(saved)
    (saved / name).write_bytes(raw + b"\n")
    with pytest.raises(CheckpointCorruptError, match=name):
        load_checkpoint(saved)


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (lambda m: m.update(format_version=2), CheckpointVersionError),
        (lambda m: m.update(format_version=99), CheckpointVersionError),
        (lambda m: m.update(format_version="1"), CheckpointVersionError),
        (lambda m: m.update(format_version=True), CheckpointVersionError),
        (lambda m: m.update(kind="gnncomm.replay"), CheckpointVersionError),
        (lambda m: m.pop("kind"), CheckpointVersionError),
        (lambda m: m.update(step=5), CheckpointCorruptError),
        (lambda m: m["versions"].update(torch="1.0"), CheckpointCorruptError),
        (lambda m: m.pop("files"), CheckpointCorruptError),
        (lambda m: m["files"].pop("env.safetensors"), CheckpointCorruptError),
        (lambda m: m["files"].update({"../x": {"size": 1, "sha256": "0" * 64}}), UnsafeContentError),
        (lambda m: m["files"].update({"a/../../x": {"size": 1, "sha256": "0" * 64}}), UnsafeContentError),
        (lambda m: m["files"].update({"/etc/passwd": {"size": 1, "sha256": "0" * 64}}), UnsafeContentError),
        (lambda m: m["files"].update({"..\\x": {"size": 1, "sha256": "0" * 64}}), UnsafeContentError),
        (lambda m: m["files"]["model.safetensors"].update(size=10**15), UnsafeContentError),
        (lambda m: m.update(step=float("nan")), UnsafeContentError),
    ],
)
def test_edited_manifests(change: Callable[[dict[str, Any]], Any], error: type[GnnCommError], saved: Path) -> None:
    edit(saved, change)
    with pytest.raises(error, match=r"manifest.json") as caught:
        load_checkpoint(saved)
    assert type(caught.value) is error


def test_a_manifest_without_its_loopholes(saved: Path, tmp_path: Path) -> None:
    raw = (saved / "manifest.json").read_bytes()
    (saved / "manifest.json").write_bytes(raw.replace(b'"kind"', b'"kind": "a", "kind"'))
    with pytest.raises(UnsafeContentError, match="duplicate key 'kind'"):
        load_checkpoint(saved)
    (saved / "manifest.json").write_bytes(b" " * (2 << 20))
    with pytest.raises(UnsafeContentError, match="at most"):
        load_checkpoint(saved)
    (saved / "manifest.json").unlink()
    with pytest.raises(CheckpointVersionError, match=r"no manifest.json"):
        load_checkpoint(saved)
    with pytest.raises(CheckpointError, match=r"no usable checkpoint among 1.*manifest.json"):
        latest_checkpoint(tmp_path)


@pytest.mark.parametrize("name", ["config.pkl", "sub/x.safetensors", "Model.safetensors", "model.bin", ""])
def test_forged_manifests_with_right_hashes(name: str, saved: Path) -> None:
    files = json.loads((saved / "manifest.json").read_bytes())["files"]
    entries = {key: FileEntry(**value) for key, value in files.items()}
    (saved / "manifest.json").write_bytes(Manifest(4, entries | {name: FileEntry(1, "0" * 64)}, {}).to_bytes())
    with pytest.raises(UnsafeContentError, match="not one that gnncomm writes"):
        load_checkpoint(saved)
    (saved / "manifest.json").write_bytes(Manifest(-4, entries, {}).to_bytes())
    with pytest.raises(UnsafeContentError, match="expected a step"):
        load_checkpoint(saved)


def header(entries: str) -> bytes:
    raw = entries.encode()
    return len(raw).to_bytes(8, "little") + raw


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\xff" * 8,
        header('{"a": {"dtype": "F32", "shape": [4294967296, 4294967296, 4], "data_offsets": [0, 0]}}'),
        header('{"a": {"dtype": "F32", "shape": [9], "data_offsets": [0, 36]}}'),
        header('{"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 0]}}'),
        header('{"a": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}, "a": {}}'),
        header('{"a": {"dtype": "PICKLE", "shape": [0], "data_offsets": [0, 0]}}'),
        header('{"a": 1}'),
        header("[]"),
        header("{"),
        pickle.dumps({"a": 1}) * 4,
        pytest.param(
            header(
                "{" + ",".join(f'"{i}":{{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}' for i in range(10**6)) + "}"
            ),
            id="a million tensors",
        ),
    ],
    ids=lambda raw: ascii(raw)[:60],
)
def test_forged_tensor_files_with_right_hashes(raw: bytes, saved: Path) -> None:
    forge(saved, "env.safetensors", raw)
    tracemalloc.start()
    start = time.monotonic()
    with pytest.raises(UnsafeContentError, match=r"env.safetensors"):
        load_checkpoint(saved)
    assert time.monotonic() - start < 2
    assert tracemalloc.get_traced_memory()[1] < 100e6 + len(raw)
    tracemalloc.stop()


def test_the_largest_header_that_is_read_stays_within_memory(saved: Path) -> None:
    entry = '"{:07d}":{{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}'
    count = (MAX_HEADER_BYTES - 2) // (len(entry.format(0)) + 1)
    forge(saved, "env.safetensors", header("{" + ",".join(entry.format(i) for i in range(count)) + "}"))
    tracemalloc.start()
    assert len(load_checkpoint(saved).group("env")) == count
    assert tracemalloc.get_traced_memory()[1] < 100e6
    tracemalloc.stop()
    with pytest.raises(UnsafeContentError, match="limit is 1000"):
        load_checkpoint(saved, max_bytes=1000)


@pytest.mark.parametrize(
    "raw",
    [
        b'{"a": 1, "a": 2}',
        b'{"a": NaN}',
        b"[]",
        b"{",
        b"\xff",
        b'{"a": 1e999}',
        b'{"a": 9223372036854775808}',
        b'{"a": ' + b"[" * 64 + b"]" * 64 + b"}",  # a reader of what was read may be recursive
    ],
)
def test_forged_states_with_right_hashes(raw: bytes, saved: Path) -> None:
    forge(saved, "state.json", raw)
    with pytest.raises(UnsafeContentError, match=r"state.json"):
        load_checkpoint(saved)


@pytest.mark.parametrize("name", ["model.safetensors", "state.json", "manifest.json"])
@pytest.mark.parametrize("place", ["link", "fifo", "device", "directory"])
def test_only_regular_files_are_opened(name: str, place: str, saved: Path, tmp_path: Path) -> None:
    save_checkpoint(tmp_path, 3, groups(3), STATE)
    copy = tmp_path / "copy"
    os.rename(saved / name, copy)
    match place:
        case "link":
            os.symlink(copy, saved / name)  # even to the right bytes
        case "device":
            os.symlink("/dev/zero", saved / name)
        case "fifo":
            os.mkfifo(saved / name)
        case "directory":
            (saved / name).mkdir()
    start = time.monotonic()
    with pytest.raises(UnsafePathError, match=name):
        load_checkpoint(saved)
    found, rejected = latest_checkpoint(tmp_path)
    assert time.monotonic() - start < 1
    assert found.step == 3
    assert [item.path for item in rejected] == [saved]
    assert name in rejected[0].reason


def test_directories_that_are_links_are_refused(saved: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    (other / "checkpoints").mkdir(parents=True)
    os.symlink(saved, other / "checkpoints" / "step_4")
    with pytest.raises(UnsafePathError, match="symbolic link"):
        load_checkpoint(other / "checkpoints" / "step_4")
    os.symlink(saved.parent, tmp_path / "linked")
    os.rename(tmp_path / "linked", tmp_path / "checkpoints2")
    third = tmp_path / "third"
    third.mkdir()
    os.symlink(saved.parent, third / "checkpoints")
    with pytest.raises(UnsafePathError, match="symbolic link"):
        latest_checkpoint(third)
    with pytest.raises(UnsafePathError, match="symbolic link"):
        save_checkpoint(third, 5, groups(5), STATE)


def test_a_renamed_checkpoint_does_not_pass_for_another_step(saved: Path) -> None:
    renamed = saved.with_name("step_7")
    os.rename(saved, renamed)
    with pytest.raises(CheckpointCorruptError, match="step 4, its directory says 7"):
        load_checkpoint(renamed)
    exported = saved.with_name("best")
    os.rename(renamed, exported)
    assert load_checkpoint(exported).step == 4


def test_tensors_that_do_not_fit_are_all_listed() -> None:
    expected = {"a": torch.zeros(2, 3), "b": torch.zeros(4), "c": torch.zeros(1), "d": torch.zeros(1)}
    found = {"a": torch.zeros(2, 5), "b": torch.zeros(4, dtype=torch.float64), "d": torch.zeros(1), "e": torch.zeros(1)}
    require_match(expected, dict(expected), "model")
    with pytest.raises(CheckpointMismatchError) as caught:
        require_match(expected, found, "model")
    assert str(caught.value) == (
        "model does not fit: 'a': expected (2, 3) F32, got (2, 5) F32; 'b': expected (4,) F32, got (4,) F64; "
        "missing 'c'; unexpected 'e'."
    )


class Payload:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("true",)


watching: list[str] | None = None
FORBIDDEN = {"exec", "compile", "pickle.find_class", "subprocess.Popen", "os.system", "os.exec", "socket.connect"}


def _watch(event: str, arguments: tuple[Any, ...]) -> None:
    if watching is not None:
        written = event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
        if event in FORBIDDEN or written:
            watching.append(event)


sys.addaudithook(_watch)


def events_of(action: Callable[[], Any]) -> list[str]:
    global watching
    watching = found = []
    try:
        action()
    except GnnCommError:
        pass
    finally:
        watching = None
    return found


def test_loading_runs_nothing_and_writes_nothing(saved: Path, tmp_path: Path) -> None:
    payload = pickle.dumps(Payload())
    assert events_of(lambda: pickle.loads(payload)) == ["pickle.find_class", "os.system"]  # the hook has teeth
    assert events_of(lambda: (tmp_path / "written").write_bytes(b"")) == ["open"]
    load_checkpoint(saved)  # what is imported late is imported now
    for name in ("config.pkl", "model.pt", "setup.py", "__init__.py"):
        (saved / name).write_bytes(payload)
    assert events_of(lambda: load_checkpoint(saved)) == []
    assert events_of(lambda: latest_checkpoint(tmp_path)) == []
    for name in ("model.safetensors", "optimizer.safetensors", "state.json"):
        original = (saved / name).read_bytes()
        forge(saved, name, payload)
        assert events_of(lambda: load_checkpoint(saved)) == []
        forge(saved, name, original)
    (saved / "manifest.json").write_bytes(payload)
    assert events_of(lambda: load_checkpoint(saved)) == []


def test_the_manual_reads_a_checkpoint_by_hand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manual = (Path(__file__).parents[2] / "docs" / "store.md").read_text(encoding="utf-8")
    block = manual.split("## Reading a checkpoint by hand")[1].split("```python")[1].split("```")[0]
    (tmp_path / "runs" / "ring_seed0").mkdir(parents=True)
    save_checkpoint(tmp_path / "runs" / "ring_seed0", 40, groups(4), STATE)
    monkeypatch.chdir(tmp_path)
    found: dict[str, Any] = {}
    exec(compile(block, "docs/store.md", "exec"), found)
    assert found["state"] == STATE
    assert torch.equal(found["weights"]["encoder.weight"], groups(4)["model"]["encoder.weight"])
