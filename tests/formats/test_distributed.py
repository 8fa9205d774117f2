"""Distributed checkpoints: genuine ones, ones that this torch writes, other splits, and damaged ones."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from dinoport.finding.unwrap import state_dicts
from dinoport.formats.opening import open_checkpoint
from dinoport.formats.storage import summed_storages
from dinoport.proofs import exact
from dinoport.tensor import TensorRef
from tests import goldens
from tests.formats.distributed_folders import QKV, grid, read_with_torch, refused, rows, tensors, write_folder

pytestmark = pytest.mark.filterwarnings("ignore:torch.distributed is disabled")

TWO_RANKS = goldens.FOLDER / "dinov3/dcp/teacher_2rank_t27"


def as_numpy(tensor: torch.Tensor) -> np.ndarray:
    bits = {torch.bfloat16: torch.int16}.get(tensor.dtype)
    return tensor.view(bits).numpy() if bits else tensor.numpy()


def check_equal(folder: Path, expected: dict[str, torch.Tensor]) -> None:
    with open_checkpoint(folder) as checkpoint:
        assert isinstance(checkpoint.tree, dict)
        tree = {name: entry for name, entry in checkpoint.tree.items() if isinstance(entry, TensorRef)}
        assert tree.keys() == expected.keys()
        for name, tensor in expected.items():
            found = tree[name].read()
            assert found.shape == tuple(tensor.shape)
            assert found.tobytes() == as_numpy(tensor).tobytes(), name


class TestGenuine:
    def test_a_teacher_of_two_ranks_reads_as_the_genuine_loader_reads_it(self) -> None:
        with open_checkpoint(TWO_RANKS) as checkpoint:
            [state] = state_dicts(checkpoint)
            backbone = {name: ref for name, ref in state.tensors.items() if not name.startswith(("dino_", "ibot_"))}
            digest = hashlib.sha256()
            for name in sorted(backbone):
                array = backbone[name].read()
                digest.update(name.encode() + str(array.dtype).encode() + repr(array.shape).encode() + array.tobytes())
        assert checkpoint.format == "distributed checkpoint"
        assert len(backbone) == 78
        assert digest.hexdigest() == "02600eec283734cf9995c77752d024fe82e2461de59f34eda95ca149d2b14c90"

    def test_opening_reads_the_metadata_and_no_part(self, monkeypatch) -> None:
        opened = []
        monkeypatch.setattr(os, "open", _spy(os.open, opened))
        with open_checkpoint(TWO_RANKS) as checkpoint:
            assert opened == [".metadata"]
            checkpoint.tree["model.backbone.norm.weight"].read()
            assert set(opened) == {".metadata", "__0_0.distcp", "__1_0.distcp"}

    def test_torch_is_not_imported(self, tmp_path) -> None:
        code = (
            "import sys; from pathlib import Path; from dinoport.formats.opening import open_checkpoint\n"
            f"with open_checkpoint(Path({str(TWO_RANKS)!r})) as opened:\n"
            "    assert opened.tree['model.backbone.cls_token'].read().shape == (1, 1, 32)\n"
            "assert 'torch' not in sys.modules"
        )
        subprocess.run([sys.executable, "-c", code], check=True)


class TestWrittenByTorch:
    @pytest.mark.parametrize(
        "options",
        [{}, {"thread_count": 3}, {"single_file_per_rank": False}, {"sync_files": False}],
        ids=lambda options: next(iter(options), "default"),
    )
    def test_every_layout_of_the_default_format(self, tmp_path, options) -> None:
        from torch.distributed.checkpoint import FileSystemWriter, save

        folder = tmp_path / "saved"
        state = tensors() | {"iteration": 9}
        save(state, storage_writer=FileSystemWriter(folder, **options), no_dist=True)
        check_equal(folder, tensors())

    def test_nested_state_dicts_and_transposed_tensors(self, tmp_path) -> None:
        from torch.distributed.checkpoint import save

        folder = tmp_path / "saved"
        weight = torch.arange(12.0).reshape(3, 4)
        conv = torch.arange(96.0).reshape(4, 3, 2, 4).contiguous(memory_format=torch.channels_last)
        save({"model": {"teacher": {"t": weight.t(), "conv": conv}}}, checkpoint_id=folder, no_dist=True)
        check_equal(folder, {"model.teacher.t": weight.t().contiguous(), "model.teacher.conv": conv.contiguous()})

    def test_safetensors_in_distcp_files_are_refused(self, tmp_path) -> None:
        filesystem = pytest.importorskip("torch.distributed.checkpoint.filesystem")
        from torch.distributed.checkpoint import FileSystemWriter, save

        writer = FileSystemWriter(tmp_path / "saved", serialization_format=filesystem.SerializationFormat.SAFETENSORS)
        save({"model.w": torch.arange(64.0)}, storage_writer=writer, no_dist=True)
        assert refused(tmp_path / "saved") == (
            "FOLDER/__0_0.distcp cannot hold what .metadata says\n"
            "  where: model.w, (64) at (0)\n"
            "  expected: 256 bytes of values, and what torch.save adds\n"
            "  found: 256 bytes\n"
            "  likely cause: another serialization format than torch.save, or a file that was made to mislead\n"
            "  try: save the checkpoint with SerializationFormat.TORCH_SAVE, torch's default"
        )


class TestSplits:
    @pytest.mark.parametrize("ranks", [1, 2, 3, 8])
    def test_rows(self, tmp_path, ranks) -> None:
        split = {name: rows(tensor, ranks) for name, tensor in tensors().items() if tensor.dim()}
        folder = write_folder(tmp_path / "rows", tensors(), lambda name, tensor: split.get(name, [()]))
        check_equal(folder, read_with_torch(folder, tensors()))
        check_equal(folder, tensors())

    @pytest.mark.parametrize("parts", [(1, 3), (3, 2), (2, 3, 2), (1, 1, 2, 2)])
    def test_grids(self, tmp_path, parts) -> None:
        folder = write_folder(
            tmp_path / "grid",
            tensors(),
            lambda name, tensor: grid(tensor, *parts) if name.endswith(("qkv.weight", "proj.weight")) else [()],
        )
        check_equal(folder, read_with_torch(folder, tensors()))
        check_equal(folder, tensors())

    def test_blocks_keep_to_whole_rows_across_parts(self, tmp_path) -> None:
        folder = write_folder(
            tmp_path / "rows", tensors(), lambda name, tensor: rows(tensor, 4) if name == QKV else [()]
        )
        with open_checkpoint(folder) as checkpoint:
            blocks = [block.copy() for block in checkpoint.tree[QKV].values.blocks(6, 48, 12)]
        assert [block.size for block in blocks] == [12, 12, 12, 6]
        assert np.array_equal(np.concatenate(blocks), as_numpy(tensors()[QKV]).reshape(-1)[6:48])

    def test_the_exact_proof_checks_the_checksums_of_every_part(self, tmp_path) -> None:
        folder = write_folder(
            tmp_path / "rows", tensors(), lambda name, tensor: rows(tensor, 3) if name == QKV else [()]
        )
        with open_checkpoint(folder) as checkpoint:
            storages = summed_storages([checkpoint.tree[QKV]])
            assert [exact._checksum_problem(storage) for storage in storages] == [None, None, None]
        data = bytearray((folder / "__1_0.distcp").read_bytes())
        position = data.index(as_numpy(tensors()[QKV])[3:6].tobytes())
        data[position] ^= 1
        (folder / "__1_0.distcp").write_bytes(data)
        with open_checkpoint(folder) as checkpoint:
            storages = summed_storages([checkpoint.tree[QKV]])
            [problem] = [text for storage in storages if (text := exact._checksum_problem(storage))]
        assert "__1_0.distcp" in problem
        assert "is damaged: a checksum does not hold" in problem


def _spy(function, opened: list[str]):
    def spied(path: Path, *args, **kwargs):
        opened.append(Path(path).name)
        return function(path, *args, **kwargs)

    return spied
