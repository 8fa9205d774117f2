"""What a folder of timm sees is what the same model sees as a folder of Transformers."""

import json
from pathlib import Path

import numpy as np
import pytest

from dinoport.api import convert
from tests.families.cases import BY_NAME
from tests.with_timm import WITH_DINOV3, needs_timm, skip_before

pytest.importorskip("torch")
pytest.importorskip("transformers")


@needs_timm
@pytest.mark.parametrize("name", ["vit-heads", "dinov2-registers", "dinov3", "dinov3-convnext"])
def test_a_folder_of_timm_is_seen_as_one_of_transformers(name: str, tmp_path: Path) -> None:
    from dinoport.pictures.seeing import see
    from dinoport.proofs.picture import synthetic_picture

    if name.startswith("dinov3"):
        skip_before(WITH_DINOV3)
    case = BY_NAME[name]
    source, request = case.write(tmp_path)
    convert(source, tmp_path / "transformers", request, level="none")
    convert(source, tmp_path / "timm", request, to="timm", level="none")
    config = json.loads((tmp_path / "timm" / "config.json").read_text())
    config["model_args"].pop("dynamic_img_size", None)  # which timm's own folders do not ask for
    (tmp_path / "timm" / "config.json").write_text(json.dumps(config))
    size = 32 if name == "dinov3-convnext" else case.architecture.image_size
    picture = synthetic_picture(400, 400)
    seen, expected = (see(tmp_path / library, picture, size, "float64") for library in ("timm", "transformers"))
    assert (seen.library, expected.library) == ("timm", "Transformers")
    assert np.array_equal(seen.picture, expected.picture)
    if name != "dinov3-convnext":
        assert abs(seen.attention - expected.attention).max() <= 1e-6
    assert abs(seen.patches - expected.patches).max() <= 1e-5
    wider = see(tmp_path / "timm", synthetic_picture(), 4 * case.architecture.cell)
    assert wider.picture.shape[1] > wider.picture.shape[0]
