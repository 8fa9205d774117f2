"""timm folders of others as sources: both layouts of registers, what a classifier looks at, who built it."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dinoport.api import convert
from dinoport.codebases.timm.config import timm_config
from dinoport.errors import SettingError, UnknownModelError
from dinoport.formats.opening import open_checkpoint
from dinoport.formats.safetensors.writer import write_safetensors
from dinoport.formats.torch.writer import write_torch_file
from dinoport.mapping.computation import added, without_rows, without_start
from dinoport.tensor import ArrayValues, TensorRef
from tests import formula
from tests.timm_target.models import CASES, asked, write
from tests.writing.stub_tensors import tensor


def folder_of(state: Mapping[str, formula.Array], config: Mapping[str, Any], folder: Path) -> Path:
    folder.mkdir()
    write_safetensors(folder / "model.safetensors", [tensor(name, values) for name, values in state.items()])
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def state_of(case: str, folder: Path) -> tuple[dict[str, formula.Array], dict[str, Any]]:
    """A case as timm has it: tensors and config."""
    convert(write(case, folder / "weights.pth"), folder / "timm", to="timm", level="none", **asked(case))
    with open_checkpoint(folder / "timm") as checkpoint:
        config: dict[str, Any] = dict(checkpoint.config or {})
        return {name: each.read() for name, each in checkpoint.tensors.items()}, config


def test_a_table_with_rows_for_registers_is_added_to_them(tmp_path: Path) -> None:
    """As `VisionTransformer` with `reg_tokens` and without `no_embed_class` has it, and adds in each pass."""
    original = formula.state_dict(CASES["dinov2 registers"].tensors())
    state, config = state_of("dinov2 registers", tmp_path)
    rows = formula.noise("rows of registers", (1, 3, 32))
    table = original["pos_embed"]
    state["cls_token"] = original["cls_token"]
    state["pos_embed"] = np.concatenate([table[:, :1], rows, table[:, 1:]], axis=1)
    config["model_args"]["no_embed_class"] = False
    report = convert(folder_of(state, config, tmp_path / "other"), tmp_path / "out", level="exact")
    assert any("rows of pos_embed for the registers are added to reg_token" in remark for remark in report.remarks)
    with open_checkpoint(tmp_path / "out") as written:
        found = {name: each.read() for name, each in written.tensors.items()}
    assert np.array_equal(found["embeddings.register_tokens"], original["register_tokens"] + rows)
    assert np.array_equal(found["embeddings.position_embeddings"], table)
    assert np.array_equal(found["embeddings.cls_token"], original["cls_token"])


def test_registers_without_layer_scale_are_read(tmp_path: Path) -> None:
    state, config = state_of("dinov2 registers", tmp_path)
    state = {name: values for name, values in state.items() if ".ls" not in name}
    config["model_args"]["init_values"] = None
    report = convert(folder_of(state, config, tmp_path / "other"), tmp_path / "out", level="exact")
    assert report.class_name == "Dinov2WithRegistersModel"


BARE = ("dinov3", "dinov3 gated", "dinov3 without layer scale", "dinov3 without registers", "dinov3 without either")


@pytest.mark.parametrize("prefix", ["", "state_dict.module.backbone."])
@pytest.mark.parametrize("case", BARE)
def test_a_rotary_vit_is_told_by_its_names_alone(case: str, prefix: str, tmp_path: Path) -> None:
    """Registers, or biases of queries and values alone: nothing else of timm's has these without a table."""
    state, _ = state_of(case, tmp_path)
    write_torch_file(tmp_path / "bare.pth", [tensor(f"{prefix}{name}", values) for name, values in state.items()])
    convert(tmp_path / "bare.pth", tmp_path / "bare", level="exact", num_heads=2, **asked(case))
    convert(tmp_path / "weights.pth", tmp_path / "direct", level="exact", **asked(case))
    with open_checkpoint(tmp_path / "bare") as one, open_checkpoint(tmp_path / "direct") as other:
        found, expected = ({name: each.read() for name, each in each.tensors.items()} for each in (one, other))
    unlike = {"embeddings.mask_token"}  # which timm does not keep
    assert found.keys() == expected.keys()
    assert all(np.array_equal(found[name], expected[name]) for name in found.keys() - unlike)


def test_a_rotary_vit_that_nothing_tells_is_refused_with_what_would(tmp_path: Path) -> None:
    state, _ = state_of("dinov3 without registers", tmp_path)
    state = {name: values for name, values in state.items() if not name.endswith(("q_bias", "v_bias"))}
    write_torch_file(tmp_path / "bare.pth", [tensor(name, values) for name, values in state.items()])
    with pytest.raises(UnknownModelError) as raised:
        convert(tmp_path / "bare.pth", tmp_path / "bare")
    assert str(raised.value).endswith(
        "  try: load it in timm (vit_*_rope_*, vit_pe_*); for a DINOv3 without registers and biases give timm's "
        "folder, whose config.json tells it"
    )


def test_a_classifier_over_the_cls_token_comes_along(tmp_path: Path) -> None:
    state, config = state_of("dino classifier", tmp_path)
    del config["dinoport"]
    folder = folder_of(state, {**config, "global_pool": "token"}, tmp_path / "other")
    assert convert(folder, tmp_path / "out", level="exact").class_name == "ViTForImageClassification"


@pytest.mark.parametrize(
    ("config", "eps", "base"),
    [
        ({"architecture": "eva02_tiny_patch14_224", "model_args": {"rope_temperature": 50}}, 1e-6, 50.0),
        ({"architecture": "vit_base_patch16_dinov3_qkvb"}, 1e-5, None),
        ({"architecture": "vit_base_patch16_clip_224"}, 1e-5, None),
        ({"architecture": "another", "model_args": {"rope_temperature": 10**400}}, None, None),
    ],
)
def test_eps_and_base_are_the_builders_and_the_folders(
    config: dict[str, Any], eps: float | None, base: float | None
) -> None:
    found = timm_config("a folder", config)
    assert found is not None
    assert (found.layer_norm_eps, found.rope_theta) == (eps, base)


def ref(name: str, values: formula.Array) -> TensorRef:
    return TensorRef(name, values.dtype, values.shape, ArrayValues(values))


def test_sums_and_cuts_are_read_in_blocks_of_any_size() -> None:
    table, token = formula.noise("table", (1, 5, 4)), formula.noise("token", (1, 2, 4))
    summed = added(ref("token", token), ref("table", table), start=4)
    assert np.array_equal(np.concatenate(list(summed.values.blocks(0, 8, 3))), (token + table[:, 1:3]).reshape(-1))
    assert np.array_equal(np.concatenate(list(summed.values.blocks(3, 7, 2))), (token + table[:, 1:3]).reshape(-1)[3:7])
    cut = without_rows(ref("table", table), 1, 3)
    assert cut.shape == (1, 3, 4)
    assert np.array_equal(cut.read(), table[:, [0, 3, 4]])
    late = without_start(ref("table", table), 4)
    assert np.array_equal(np.concatenate(list(late.values.blocks(2, 20, 5)))[:3], [0, 0, table[0, 1, 0]])


def test_a_sum_of_zeros_keeps_its_sign() -> None:
    """As float32 has it: -0 and -0 are -0, where a sum that began at 0 would be 0."""
    zero = np.array([-0.0, -0.0], np.float32)
    found = added(ref("one", zero), ref("other", np.array([-0.0, 0.0], np.float32))).read()
    assert list(np.signbit(found)) == [True, False]


def test_what_the_original_had_otherwise_is_said_of_timms_folders_too(tmp_path: Path) -> None:
    """As of Transformers': a table that was resampled, weights that were rounded."""
    source = write("dino classifier", tmp_path / "weights.pth")
    asked_for = {**asked("dino classifier"), "image_size": 48, "dtype": "float16"}
    convert(source, tmp_path / "out", to="timm", level="none", **asked_for)
    remarks = convert(tmp_path / "out", tmp_path / "back", to="original", level="none").remarks
    assert (
        "pos_embed returns as the folder has it, resampled for 48 pixels; the original's own table, for 32, is not in "
        "the folder" in remarks
    )
    assert "the folder was made with --dtype float16: weights return so, whatever the original stored" in remarks
    convert(source, tmp_path / "plain", to="timm", level="none", **asked("dino classifier"))
    remarks = convert(tmp_path / "plain", tmp_path / "again", to="original", level="none").remarks
    assert not [remark for remark in remarks if "returns as" in remark or "--dtype" in remark]


@pytest.mark.parametrize(
    ("name", "usual"), [("rope_type", "'dinov3'"), ("rope_rotate_half", "True"), ("use_rot_pos_emb", "True")]
)
def test_a_builder_that_rotates_otherwise_is_refused_where_nothing_says_that_it_does_not(
    name: str, usual: str, tmp_path: Path
) -> None:
    state, config = state_of("dinov3 open mask", tmp_path)
    assert config["architecture"] == "eva02_tiny_patch14_224"
    if name == "use_rot_pos_emb":  # which this builder does anyway
        config["model_args"][name] = None
    else:
        del config["model_args"][name]
    folder = folder_of(state, config, tmp_path / "other")
    with pytest.raises(SettingError) as caught:
        convert(folder, tmp_path / "out", level="none")
    assert str(caught.value) == (
        f"the config.json of {folder} asks for another rotation of queries and keys than DINOv3's\n"
        "  where: config.json: model_args\n"
        f"  expected: {name} = {usual}\n"
        "  found: eva02_tiny_patch14_224, which rotates otherwise by default\n"
        "  likely cause: a config from which a field was taken out, or a model that is not a DINOv3\n"
        "  try: give the folder as it was saved"
    )


def test_a_base_is_the_class_s_own_where_nothing_says_it(tmp_path: Path) -> None:
    state, config = state_of("dinov3 open mask", tmp_path)
    del config["model_args"]["rope_temperature"]
    convert(folder_of(state, config, tmp_path / "other"), tmp_path / "out", level="exact")
    assert json.loads((tmp_path / "out" / "config.json").read_text())["rope_theta"] == 10_000.0
