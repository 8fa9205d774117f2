"""Folders of Transformers: one file, shards with an index, torch's older .bin, and indexes that lie."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from dinoport.errors import CheckpointError, UnsafeCheckpointError
from dinoport.formats import transformers_folder as reader
from dinoport.formats.opening import open_checkpoint

TENSORS = {"embeddings.cls_token": np.arange(1, 4, dtype="f4"), "layernorm.bias": np.arange(4, 9, dtype="f4")}
SHARDS = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
INDEX = "model.safetensors.index.json"


def write(folder: Path, name: str, tensors: dict[str, np.ndarray]) -> None:
    from safetensors.numpy import save_file

    save_file(tensors, folder / name)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "config.json").write_text('{"architectures": ["ViTModel"], "hidden_size": 3}')
    return tmp_path


@pytest.fixture
def sharded(folder: Path) -> Path:
    for shard, (name, values) in zip(SHARDS, TENSORS.items(), strict=True):
        write(folder, shard, {name: values})
    index(folder, dict(zip(TENSORS, SHARDS, strict=True)))
    return folder


def index(folder: Path, weight_map: object, name: str = INDEX) -> None:
    (folder / name).write_text(json.dumps({"metadata": {"total_size": 32}, "weight_map": weight_map}))


def read(folder: Path) -> dict[str, list[float]]:
    with open_checkpoint(folder) as checkpoint:
        assert checkpoint.format == "folder of Transformers"
        assert isinstance(checkpoint.tree, dict)
        return {name: tensor.read().tolist() for name, tensor in checkpoint.tree.items()}


def refused(folder: Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        open_checkpoint(folder)
    return str(caught.value)


def unsound(path: Path, found: str) -> str:
    return (
        f"{path} is not sound\n"
        f"  found: {found}\n"
        "  likely cause: a download that broke off, or a file that was edited\n"
        "  try: fetch the folder again"
    )


EXPECTED = {name: values.tolist() for name, values in TENSORS.items()}


def test_one_file(folder):
    write(folder, "model.safetensors", TENSORS)
    (folder / "dinoport.json").write_text('{"verdict": "equal"}')
    assert read(folder) == EXPECTED
    with open_checkpoint(folder) as checkpoint:
        assert checkpoint.config == {"architectures": ["ViTModel"], "hidden_size": 3}
        assert checkpoint.report == {"verdict": "equal"}


def test_shards(sharded):
    assert read(sharded) == EXPECTED


@pytest.mark.parametrize("legacy", [False, True])
def test_what_older_versions_saved(folder, legacy):
    torch = pytest.importorskip("torch")
    state = {name: torch.from_numpy(values) for name, values in TENSORS.items()}
    torch.save(state, folder / "pytorch_model.bin", _use_new_zipfile_serialization=not legacy)
    assert read(folder) == EXPECTED


def test_shards_that_older_versions_saved(folder):
    torch = pytest.importorskip("torch")
    shards = {name: f"pytorch_model-0000{place}-of-00002.bin" for place, name in enumerate(TENSORS, 1)}
    for name, shard in shards.items():
        torch.save({name: torch.from_numpy(TENSORS[name])}, folder / shard)
    index(folder, shards, "pytorch_model.bin.index.json")
    assert read(folder) == EXPECTED


def test_what_transformers_loads_first_is_read_first(sharded):
    write(sharded, "model.safetensors", {"other": np.ones(1, "f4")})
    assert read(sharded) == {"other": [1.0]}


def test_code_in_an_older_file(folder):
    from tests.formats.memory import torch_zip

    (folder / "pytorch_model.bin").write_bytes(torch_zip(b"cposix\nsystem\n(S'true'\ntR."))
    with pytest.raises(UnsafeCheckpointError, match=r"pytorch_model\.bin names posix\.system"):
        open_checkpoint(folder)


@pytest.mark.parametrize(
    ("shard", "shown"),
    [
        ("../other.safetensors", "'../other.safetensors'"),
        ("/etc/passwd", "'/etc/passwd'"),
        ("sub/model.safetensors", "'sub/model.safetensors'"),
        ("..", "'..'"),
        (".", "'.'"),
        ("", "''"),
        ("a\\b", "'a\\\\b'"),
        ("a\0b", "'a\\x00b'"),
    ],
)
def test_a_shard_outside_the_folder(folder, shard, shown):
    index(folder, {"a": shard})
    assert refused(folder) == unsound(folder / INDEX, f"a shard outside the folder: {shown}")


@pytest.mark.parametrize("weight_map", [None, [], {"a": 1}, {"a": None}])
def test_an_index_without_a_map(folder, weight_map):
    index(folder, weight_map)
    assert refused(folder) == unsound(folder / INDEX, "no weight_map from names to files")


def test_a_missing_shard(sharded):
    (sharded / SHARDS[1]).unlink()
    assert refused(sharded).startswith(f"{sharded / SHARDS[1]} cannot be read: No such file or directory")


def test_a_name_that_no_shard_holds(sharded):
    index(sharded, {**dict(zip(TENSORS, SHARDS, strict=True)), "missing": SHARDS[0]})
    assert refused(sharded) == unsound(sharded / INDEX, "names without a tensor in any shard (1): missing")


def test_a_tensor_that_the_index_does_not_know(sharded):
    write(sharded, SHARDS[0], {**TENSORS})
    found = "'layernorm.bias', which the index does not place there"
    assert refused(sharded) == unsound(sharded / SHARDS[0], found)


def test_a_shard_that_is_no_state_dict(folder):
    torch = pytest.importorskip("torch")
    torch.save([torch.ones(1)], folder / "a.bin")
    index(folder, {"a": "a.bin"}, "pytorch_model.bin.index.json")
    assert refused(folder) == unsound(folder / "a.bin", "something else than a state dict")


def test_more_shards_than_any_model_has(folder, monkeypatch):
    monkeypatch.setattr(reader, "MAX_SHARDS", 1)
    index(folder, {"a": "1.safetensors", "b": "2.safetensors"})
    assert refused(folder) == unsound(folder / INDEX, "2 shards, where at most 1 are sound")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (b"", "text that is not JSON at character 0: Expecting value"),
        (b"[]", "a list where an object was expected"),
        (b'{"a": NaN}', "NaN, which JSON does not have"),
        (b'{"a": 1, "a": 2}', "two values of the name 'a'"),
        (b"\xff", "bytes that are not UTF-8 at byte 0"),
        (b'{"a":' * 100_000, "values that nest too deep"),
    ],
)
def test_a_config_that_is_none(folder, text, found):
    write(folder, "model.safetensors", TENSORS)
    (folder / "config.json").write_bytes(text)
    assert refused(folder) == unsound(folder / "config.json", found)


def test_a_config_of_any_size(folder, monkeypatch):
    monkeypatch.setattr(reader, "MAX_JSON_BYTES", 10)
    write(folder, "model.safetensors", TENSORS)
    found = f"{(folder / 'config.json').stat().st_size} bytes, where at most 10 are sound"
    assert refused(folder) == unsound(folder / "config.json", found)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_shard_that_is_a_pipe(sharded):
    (sharded / SHARDS[0]).unlink()
    os.mkfifo(sharded / SHARDS[0])
    assert f"{sharded / SHARDS[0]} is not a regular file" in refused(sharded)


def test_files_are_closed_when_opening_fails(sharded):
    write(sharded, SHARDS[1], {"unknown": np.ones(1, "f4")})
    assert "does not place there" in refused(sharded)  # ResourceWarning is an error in this suite


@pytest.mark.parametrize("spare", [0, 1])
def test_an_adapters_config_is_read_up_to_a_mebibyte(tmp_path, spare):
    write(tmp_path, "adapter_model.safetensors", TENSORS)
    config = tmp_path / "adapter_config.json"
    config.write_text("{}".ljust(2**20 + spare))
    if spare:
        assert refused(tmp_path) == unsound(config, "1048577 bytes, where at most 1048576 are sound")
    else:
        with open_checkpoint(tmp_path) as checkpoint:
            assert checkpoint.adapter == {}
