"""A folder's own field that names another original than its class can hold, and a config that leaves a part out."""

import json
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from safetensors.numpy import load_file, save_file

from dinoport import api
from dinoport.codebases.catalogue import NAMINGS, RELATIVES, UNTOLD, naming_named
from dinoport.errors import DinoportError, PlanError, UnknownModelError
from dinoport.formats.torch.writer import write_torch_file
from dinoport.request import Request
from dinoport.tensor import shape_text
from tests import formula
from tests.models import CONVNEXT, RESNET, V2, V3, VIT
from tests.writing.stub_tensors import tensor

FAMILIES = sorted(
    {each.family for each in NAMINGS if each.family} | {name for each in RELATIVES.values() for name in each}
)

MODELS = {
    "vit": VIT,
    "dinov2": replace(V2, registers=3),
    "dinov3": V3,
    "dinov3_convnext": CONVNEXT,
    "dino_resnet": RESNET,
}

OTHERS = ("dinov3", "dinov3_convnext", "dino_resnet")
"""Families of other networks than the plain ViT, whose names their relatives have too."""


def network_of(family: str) -> str:
    parent = next((parent for parent, names in RELATIVES.items() if family in names), family)
    parent = next((known for known, unknown in UNTOLD.items() if unknown == parent), parent)
    return parent if parent in OTHERS else "vit"


def written(name: str, folder: Path) -> tuple[Path, dict[str, Any]]:
    state = formula.state_dict(MODELS[name].tensors())
    write_torch_file(folder / "weights.pth", [tensor(key, each, block=1 << 20) for key, each in state.items()])
    api.convert(folder / "weights.pth", folder / "out", level="none")
    config: dict[str, Any] = json.loads((folder / "out" / "config.json").read_text())
    return folder / "out", config


@pytest.mark.parametrize("name", MODELS)
def test_an_original_of_another_network_is_refused_as_that(name: str, tmp_path: Path) -> None:
    folder, config = written(name, tmp_path)
    for family in FAMILIES:
        (folder / "config.json").write_text(json.dumps({**config, "dinoport": {"family": family}}))
        if network_of(family) == network_of(name):
            with suppress(DinoportError):  # of the same network; one with other parts does not fit
                api.plan(folder, Request(to="original"))
            continue
        with pytest.raises(UnknownModelError) as caught:
            api.plan(folder, Request(to="original"))
        title = naming_named(family).code.FAMILY.title
        assert f"came from a {title}, which is another network" in str(caught.value).replace(" an ", " a "), family
        assert "  try: remove the field dinoport from config.json" in str(caught.value)


@pytest.mark.parametrize("family", ["dinov2", "simdinov2"])
def test_damage_is_no_other_network(family: str, tmp_path: Path) -> None:
    """The advice for another network would remove what the folder records of its original."""
    folder, config = written("dinov2", tmp_path)
    (folder / "config.json").write_text(json.dumps({**config, "dinoport": {"family": family}}))
    tensors = load_file(folder / "model.safetensors")
    save_file({name: each for name, each in tensors.items() if "position" not in name}, folder / "model.safetensors")
    with pytest.raises(PlanError) as caught:
        api.plan(folder, Request(to="original"))
    assert caught.value.problems == ("pos_embed is missing",)


@pytest.mark.parametrize("name", ["dinov2", "dinov3"])
def test_registers_that_a_config_leaves_out_are_not_lost(name: str, tmp_path: Path) -> None:
    """Where it says that there are none, the class would make an empty tensor, and the file holds some."""
    folder, config = written(name, tmp_path)
    (folder / "config.json").write_text(json.dumps({**config, "num_register_tokens": 0}))
    with pytest.raises(PlanError) as caught:
        api.plan(folder, Request(to="original"))
    count = config["num_register_tokens"]
    assert caught.value.problems == (
        f"embeddings.register_tokens has shape {shape_text((1, count, 64))}, where config.json says "
        f"{shape_text((1, 0, 64))}",
    )
