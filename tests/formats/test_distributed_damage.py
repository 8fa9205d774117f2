"""Distributed checkpoints that are damaged, cut, or made to mislead: one clear message each."""

import os
import pickle
import shutil

import numpy as np
import pytest
import torch

from dinoport.errors import CheckpointError, UnsafeCheckpointError
from dinoport.formats.opening import open_checkpoint
from dinoport.formats.torch.storages import TORCH_DTYPES
from dinoport.tensor import TensorRef
from tests import goldens
from tests.error_text import error_text
from tests.formats.distributed_folders import QKV, refused, rows, tensors, write_folder

TWO_RANKS = goldens.FOLDER / "dinov3/dcp/teacher_2rank_t27"


def set_info(name: str, **values: object):
    """An edit of one tensor's place."""

    def change(metadata) -> None:
        index = next(index for index in metadata.storage_data if index.fqn == name)
        for key, value in values.items():
            setattr(metadata.storage_data[index], key, value)

    return change


def set_chunks(*boxes: tuple[tuple[int, ...], tuple[int, ...]]):
    """An edit of the parts that QKV is said to have."""

    def change(metadata) -> None:
        entry = metadata.state_dict_metadata[QKV]
        entry.chunks = [type(entry.chunks[0])(torch.Size(offsets), torch.Size(sizes)) for offsets, sizes in boxes]

    return change


def drop_place(metadata) -> None:
    del metadata.storage_data[next(index for index in metadata.storage_data if index.fqn == QKV)]


def rename_class(metadata) -> None:
    metadata.state_dict_metadata[QKV] = metadata.state_dict_metadata[QKV].properties


def set_dtype(dtype: torch.dtype):
    def change(metadata) -> None:
        metadata.state_dict_metadata[QKV].properties.dtype = dtype

    return change


UNSOUND = "FOLDER/.metadata is not sound metadata of a distributed checkpoint\n"
NEXT = (
    "  likely cause: a damaged file, or one that was made to mislead\n"
    "  try: copy the folder again from where the training wrote it"
)
ONCE = "  expected: parts that cover each element exactly once\n  found: " + QKV + " of shape (9, 6) has "


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (set_chunks(((0, 0), (9, 5))), f"{UNSOUND}{ONCE}9 of 54 elements that no part covers\n{NEXT}"),
        (
            set_chunks(((0, 0), (9, 7))),
            f"{UNSOUND}{ONCE}a part (9, 7) at (0, 0), which reaches beyond the tensor\n{NEXT}",
        ),
        (
            set_chunks(((0, 0), (5, 6)), ((4, 0), (5, 6))),
            f"{UNSOUND}{ONCE}a part (5, 6) at (4, 0), which another part covers too\n{NEXT}",
        ),
        (set_chunks(((0,), (9,))), f"{UNSOUND}  found: {QKV} of 2 axes has a part (9) at (0)\n{NEXT}"),
        (
            set_info(QKV, relative_path="../elsewhere.distcp"),
            f"{UNSOUND}  expected: the name of a file in the folder itself\n"
            f"  found: {QKV} in '../elsewhere.distcp'\n{NEXT}",
        ),
        (
            set_info(QKV, relative_path="/etc/passwd"),
            f"{UNSOUND}  expected: the name of a file in the folder itself\n  found: {QKV} in '/etc/passwd'\n{NEXT}",
        ),
        (
            set_info(QKV, relative_path=".."),
            f"{UNSOUND}  expected: the name of a file in the folder itself\n  found: {QKV} in '..'\n{NEXT}",
        ),
        (
            set_info(QKV, offset=-1, length=2000),
            f"{UNSOUND}  found: a place ('__0_0.distcp', -1, 2000) for {QKV}\n{NEXT}",
        ),
        (drop_place, f"{UNSOUND}  found: no place for the part of {QKV} at (0, 0)\n{NEXT}"),
        (
            rename_class,
            f"{UNSOUND}  found: torch.distributed.checkpoint.metadata.TensorProperties where TensorStorageMetadata "
            f"belongs\n{NEXT}",
        ),
        (
            set_info(QKV, transform_descriptors=["stream.zstd/1"]),
            "FOLDER/.metadata describes values that were transformed when they were saved\n"
            f"  where: {QKV}\n"
            "  expected: parts as torch.save writes them\n"
            "  found: transforms ['stream.zstd/1']\n"
            "  likely cause: the writer was given an extension, such as compression or encryption\n"
            "  try: load it with torch.distributed.checkpoint and the same extension, and save it without one",
        ),
        (
            set_info(QKV, offset=2**40, length=2000),
            "FOLDER/__0_0.distcp ends too early\n"
            f"  where: {QKV}\n"
            "  expected: 2000 bytes at offset 1099511627776, as .metadata says\n"
            "  found: a file of SIZE bytes\n"
            "  likely cause: a copy that broke off, or a file of another checkpoint\n"
            "  try: copy the folder again from where the training wrote it",
        ),
        (
            set_info(QKV, length=300),
            "FOLDER/__0_0.distcp cannot hold what .metadata says\n"
            f"  where: {QKV}, (9, 6) at (0, 0)\n"
            "  expected: 216 bytes of values, and what torch.save adds\n"
            "  found: 300 bytes\n"
            "  likely cause: another serialization format than torch.save, or a file that was made to mislead\n"
            "  try: save the checkpoint with SerializationFormat.TORCH_SAVE, torch's default",
        ),
        (
            set_info(QKV, relative_path="__7_0.distcp"),
            "FOLDER is incomplete: __7_0.distcp is missing\n"
            "  expected: the 2 files that .metadata names\n"
            "  found: 1 of them\n"
            "  likely cause: a copy that broke off, or ranks that wrote to disks of their own\n"
            "  try: copy the files of all ranks into one folder",
        ),
        (
            set_dtype(torch.complex32),
            f"{UNSOUND}  expected: one of {', '.join(TORCH_DTYPES)}\n  found: {QKV} of dtype torch.complex32\n{NEXT}",
        ),
    ],
)
def test_metadata_that_lies_is_refused_when_it_is_opened(tmp_path, change, message) -> None:
    folder = write_folder(tmp_path / "lying", tensors(), change=change)
    size_bytes = (folder / "__0_0.distcp").stat().st_size
    assert refused(folder) == message.replace("SIZE", str(size_bytes))


@pytest.mark.parametrize(
    ("change", "expected", "found"),
    [
        (
            set_dtype(torch.int32),
            "a tensor of dtype int32 and shape (9, 6)",
            "a tensor of dtype float32 and shape (9, 6)",
        ),
        (
            set_info(QKV, offset=2),
            "a part that torch.save wrote",
            None,
        ),
    ],
)
def test_a_part_that_is_not_what_the_metadata_says_is_refused_when_it_is_read(
    tmp_path, change, expected, found
) -> None:
    message = refused(write_folder(tmp_path / "lying", tensors(), change=change), read=True)
    assert message.startswith(f"FOLDER/__0_0.distcp ({QKV}, (9, 6) at (0, 0)) is not what .metadata says\n")
    assert f"  expected: {expected}\n" in message
    assert found is None or f"  found: {found}\n" in message


def test_two_parts_that_were_swapped_are_noticed_by_their_shapes(tmp_path) -> None:
    def swap(metadata) -> None:
        first, second = [
            info for index, info in metadata.storage_data.items() if index.fqn.endswith(("cls_token", "proj.weight"))
        ]
        first.__dict__, second.__dict__ = second.__dict__, first.__dict__

    message = refused(
        write_folder(tmp_path / "swapped", {k: v for k, v in tensors().items() if "optim" not in k}, change=swap),
        read=True,
    )
    assert "cannot hold what .metadata says" in message or "is not what .metadata says" in message


class TestDamage:
    def test_a_truncated_file_is_named(self, tmp_path) -> None:
        folder = tmp_path / "cut"
        shutil.copytree(TWO_RANKS, folder)
        with (folder / "__1_0.distcp").open("r+b") as file:
            file.truncate(300_000)
        message = refused(folder)
        assert message.startswith("FOLDER/__1_0.distcp ends too early\n  where: model.")
        assert "found: a file of 300000 bytes" in message

    def test_a_missing_rank_is_named(self, tmp_path) -> None:
        folder = tmp_path / "part"
        shutil.copytree(TWO_RANKS, folder)
        (folder / "__1_0.distcp").unlink()
        assert refused(folder).startswith(
            "FOLDER is incomplete: __1_0.distcp is missing\n  expected: the 2 files that .metadata names\n"
        )

    def test_no_metadata(self, tmp_path) -> None:
        (tmp_path / "__0_0.distcp").write_bytes(b"x")
        assert refused(tmp_path) == (
            "FOLDER is a distributed checkpoint without its .metadata\n"
            "  expected: .metadata beside the .distcp files\n"
            "  found: __0_0.distcp\n"
            "  likely cause: a save that was interrupted (.metadata is written last), or a copy that left hidden "
            "files out\n"
            "  try: copy the folder again with its hidden files, or take an earlier checkpoint of the run"
        )

    def test_metadata_that_is_too_large(self, monkeypatch) -> None:
        size_bytes = (TWO_RANKS / ".metadata").stat().st_size
        monkeypatch.setattr("dinoport.formats.distributed.reader.MAX_BYTES", size_bytes - 1)
        assert error_text(CheckpointError, lambda: open_checkpoint(TWO_RANKS)) == (
            f"{TWO_RANKS / '.metadata'} is too large to be genuine\n"
            f"  expected: at most {size_bytes - 1} bytes\n  found: {size_bytes} bytes\n  try: ls -l {TWO_RANKS}"
        )

    def test_metadata_of_single_ranks(self, tmp_path) -> None:
        for name in ("__0.metadata", "__0_0.distcp"):
            (tmp_path / name).write_bytes(b"x")
        assert refused(tmp_path) == (
            "FOLDER is a distributed checkpoint whose ranks did not agree on one .metadata\n"
            "  expected: .metadata, which says what belongs to which tensor\n"
            "  found: __0.metadata, __0_0.distcp\n"
            "  likely cause: it was saved with use_collectives=False\n"
            "  try: load it as the run would, and save it again without that option"
        )

    def test_shards_of_safetensors(self, tmp_path) -> None:
        (tmp_path / "shard-00001-model-00001-of-00001.safetensors").write_bytes(b"x")
        assert refused(tmp_path) == (
            "FOLDER holds the parts of a model that were not put together\n"
            "  expected: a safetensors file with whole tensors\n"
            "  found: shard-00001-model-00001-of-00001.safetensors\n"
            "  likely cause: torch's HuggingFaceStorageWriter writes such parts with save_distributed=True\n"
            "  try: save with enable_consolidation=True, or run torch's consolidate_safetensors_files on the folder"
        )

    @pytest.mark.parametrize("name", ["__0_0.distcp", ".metadata"])
    def test_a_file_instead_of_the_folder(self, name) -> None:
        assert error_text(CheckpointError, lambda: open_checkpoint(TWO_RANKS / name)) == (
            f"{TWO_RANKS / name} is one file of a distributed checkpoint\n"
            "  expected: the folder, with .metadata and all .distcp files\n"
            "  found: one file\n"
            f"  try: give the folder: {TWO_RANKS}"
        )

    def test_a_link_that_leaves_the_folder(self, tmp_path) -> None:
        folder = write_folder(tmp_path / "linked", tensors())
        outside = tmp_path / "outside.distcp"
        (folder / "__0_0.distcp").rename(outside)
        (folder / "__0_0.distcp").symlink_to(outside)
        assert refused(folder) == (
            "FOLDER/__0_0.distcp is a link that leaves its folder\n"
            "  expected: a file in the folder itself, or in the cache that the folder belongs to\n"
            f"  found: a link to {outside}\n"
            "  likely cause: a link to save space, or a folder that was made to mislead\n"
            "  try: if you know where it comes from: cp -rL FOLDER COPY\n"
            "       then give COPY"
        )

    @pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
    def test_a_pipe_is_not_waited_for(self, tmp_path) -> None:
        folder = write_folder(tmp_path / "piped", tensors())
        (folder / "__0_0.distcp").unlink()
        os.mkfifo(folder / "__0_0.distcp")
        assert refused(folder).startswith("FOLDER/__0_0.distcp is not a regular file")

    def test_code_in_the_metadata_is_refused_by_name_and_not_run(self, tmp_path) -> None:
        class Attack:
            def __reduce__(self) -> tuple[object, ...]:
                return os.system, (f"touch {tmp_path}/ran",)

        (tmp_path / ".metadata").write_bytes(pickle.dumps(Attack()))
        with pytest.raises(UnsafeCheckpointError, match=r"names posix\.system, which no checkpoint needs"):
            open_checkpoint(tmp_path)
        assert not (tmp_path / "ran").exists()

    def test_code_in_a_part_is_refused_when_it_is_read(self, tmp_path) -> None:
        class Attack:
            def __reduce__(self) -> tuple[object, ...]:
                return os.system, (f"touch {tmp_path}/ran",)

        folder = write_folder(tmp_path / "f", tensors(), save=lambda part, file: torch.save([part, Attack()], file))
        assert "names posix.system, which no checkpoint needs" in refused(folder, read=True)
        assert not (tmp_path / "ran").exists()

    def test_a_part_that_is_no_tensor(self, tmp_path) -> None:
        folder = write_folder(tmp_path / "f", tensors(), save=lambda part, file: torch.save([part], file))
        assert "  found: no tensor\n" in refused(folder, read=True)

    def test_a_pickle_of_something_else(self, tmp_path) -> None:
        (tmp_path / ".metadata").write_bytes(pickle.dumps({"a": 1}))
        assert refused(tmp_path) == f"{UNSOUND}  found: a dict where Metadata belongs\n{NEXT}"

    def test_a_file_that_was_replaced_while_it_was_open(self, tmp_path) -> None:
        folder = write_folder(tmp_path / "f", tensors())
        with open_checkpoint(folder) as checkpoint:
            checkpoint.check_unchanged()
            with (folder / "__0_0.distcp").open("ab") as file:
                file.write(b"more")
            with pytest.raises(CheckpointError, match="changed while it was read"):
                checkpoint.tree[QKV].read()
            with pytest.raises(CheckpointError, match="changed while it was read"):
                checkpoint.check_unchanged()


def test_bytes_flipped_anywhere_in_the_metadata_end_in_a_message_or_a_reading(tmp_path) -> None:
    """Whatever the damage, nothing but a CheckpointError comes out, and nothing hangs."""
    folder = write_folder(tmp_path / "f", tensors(), lambda name, tensor: rows(tensor, 2) if name == QKV else [()])
    original = (folder / ".metadata").read_bytes()
    generator = np.random.default_rng(0)
    outcomes = set()
    for _ in range(400):
        data = bytearray(original)
        for position in generator.integers(0, len(data), size=2):
            data[position] = generator.integers(0, 256)
        (folder / ".metadata").write_bytes(data)
        try:
            with open_checkpoint(folder) as checkpoint:
                for entry in checkpoint.tree.values():
                    if isinstance(entry, TensorRef):
                        entry.read()
            outcomes.add("read")
        except CheckpointError as error:
            outcomes.add(type(error).__name__)
    assert {"read", "CheckpointError"} <= outcomes


def test_files_of_ranks_that_hold_nothing_of_the_checkpoint_are_named(tmp_path) -> None:
    folder = write_folder(tmp_path / "folder", tensors())
    with open_checkpoint(folder) as checkpoint:
        assert checkpoint.remarks == ()
    shutil.copy(folder / "__0_0.distcp", folder / "__7_0.distcp")
    with open_checkpoint(folder) as checkpoint:
        assert checkpoint.remarks == ("not read, as .metadata has no tensor in them: __7_0.distcp",)
