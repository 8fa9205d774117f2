"""Which versions of Transformers and timm load what is written, measured: `make compatibility` writes the table.

`python -m tests.compatibility build/compatibility docs/compatibility.md` converts a tiny model of each network with the
full proof, and loads each folder in every version that lies in build/compatibility. For timm it runs the full proof in
each, with the Python that `--timm-python` names.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dinoport.api import convert
from dinoport.proofs.verdict import GATE
from tests.families.cases import BY_NAME
from tests.families.record import load_case, outputs

TRANSFORMERS = {
    "DINO ViT": "vit",
    "DINO ViT with a classifier": "vit-classifier",
    "DINO ResNet-50": "resnet",
    "DINOv2 ViT": "dinov2",
    "DINOv2 ViT with SwiGLU": "dinov2-swiglu",
    "DINOv2 ViT with a classifier": "dinov2-whole-classifier",
    "DINOv2 ViT with registers": "dinov2-registers",
    "DINOv3 ViT": "dinov3",
    "DINOv3 ViT with SwiGLU": "dinov3-gated",
    "DINOv3 ConvNeXt": "dinov3-convnext",
}
"""Rows of the table: a case of the family tests for each network."""

TIMM = {
    "DINO ViT": "dino",
    "DINO ResNet-50": "resnet",
    "DINOv2 ViT": "dinov2",
    "DINOv2 ViT with registers": "dinov2 registers",
    "DINOv3 ViT": "dinov3",
    "DINOv3 ConvNeXt": "convnext",
}

LOAD = """
import json, sys
import numpy as np
import torch
import transformers
transformers.logging.set_verbosity_error()
found = {}
for folder in sys.argv[1:]:
    name = json.load(open(folder + "/out/config.json"))["architectures"][0]
    kept = np.load(folder + "/outputs.npz")
    try:
        cls = getattr(transformers, name)
    except (AttributeError, ImportError):
        found[folder] = "no class " + name
        continue
    try:
        model, info = cls.from_pretrained(folder + "/out", output_loading_info=True, torch_dtype=torch.float64)
        wrong = [key for kind in ("missing_keys", "unexpected_keys", "mismatched_keys") for key in info[kind]]
        with torch.inference_mode():
            given = model.eval()(torch.from_numpy(kept["pixels"]), output_hidden_states=True)
        values = {key: each for key, each in given.items() if isinstance(each, torch.Tensor)}
        compared = {key: (values[key].numpy(), kept[key]) for key in values if key in kept}
        worst = {key: float(abs(one - other).max() / abs(other).max()) for key, (one, other) in compared.items()}
        found[folder] = f"{len(wrong)} keys" if wrong else worst
    except Exception as error:
        found[folder] = f"fails: {type(error).__name__}"
print(json.dumps([transformers.__version__, found]))
"""

PROVE = """
import json, shutil, sys
from pathlib import Path
import timm
import dinoport
from tests.timm_target import models
found = {}
for case in sys.argv[2:]:
    place = Path(sys.argv[1], case.replace(" ", "-"))
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    try:
        source = models.write(case, place / "source.pth")
        report = dinoport.convert(source, place / "out", to="timm", **models.asked(case), force=True)
        found[case] = report.proofs.outputs.worst if report.proofs.outputs else "no class in this version"
    except Exception as error:
        found[case] = f"fails: {str(error).splitlines()[0]}"
print(json.dumps([timm.__version__, found]))
"""

BEGIN, END = "<!-- measured: compatibility -->", "<!-- end -->"


def made(root: Path) -> dict[str, Path]:
    """A folder for each row, proven in full in this environment, and what its class gives there."""
    places = {}
    for name in TRANSFORMERS.values():
        place = root / "folders" / name
        shutil.rmtree(place, ignore_errors=True)
        source, wishes = BY_NAME[name].write(place)
        report = convert(source, place / "out", wishes)
        assert report.verdict.shown.startswith("at "), report.verdict
        _, model = load_case(BY_NAME[name], place / "out")
        size = getattr(model.config, "image_size", 224)
        pixels = np.random.default_rng(0).normal(size=(1, 3, size, size))
        np.savez(place / "outputs.npz", pixels=pixels, **outputs(model, pixels))
        places[name] = place
    return places


def measured(python: str, program: str, words: Sequence[str], overlay: Path | None) -> tuple[str, dict[str, Any]]:
    """A version, and what it makes of each word."""
    paths = [*([str(overlay)] if overlay else []), str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    done = subprocess.run(
        [python, "-c", program, *words],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths)), "TRANSFORMERS_VERBOSITY": "error"},
    )
    if done.returncode:
        raise SystemExit(f"{overlay}: {done.stderr[-2000:]}")
    version, found = json.loads(done.stdout.splitlines()[-1])
    return version, found


def judged(found: str | dict[str, float]) -> str | float:
    """The largest difference; where `pooler_output` alone is another, that in words."""
    if isinstance(found, str):
        return found
    others = max(value for key, value in found.items() if key != "pooler_output")
    if others <= GATE < found.get("pooler_output", 0):
        return "equal but for `pooler_output`"
    return max(found.values())


def table(rows: Mapping[str, str], columns: Mapping[str, Mapping[str, float | str]]) -> Iterator[str]:
    versions = sorted(columns, key=lambda version: [int(part) for part in version.split(".")[:3]])
    yield f"| | {' | '.join(versions)} |"
    yield "|---|" + "---|" * len(versions)
    for title, key in rows.items():
        yield f"| {title} | {' | '.join(shown(columns[version][key]) for version in versions)} |"


def shown(found: float | str) -> str:
    if isinstance(found, str):
        return "–" if found.startswith("no class") else found
    return f"equal ({found:.0e})" if 0 < found <= GATE else "equal" if found == 0 else f"differs by {found:.0e}"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("root", type=Path)
    parser.add_argument("page", type=Path)
    parser.add_argument("--timm-python", default=sys.executable)
    parser.add_argument("--keep", action="store_true", help="take the folders that an earlier run made")
    given = parser.parse_args()
    kept = {name: given.root / "folders" / name for name in TRANSFORMERS.values()}
    places = kept if given.keep else made(given.root)
    names = {str(place): name for name, place in places.items()}
    columns = {}
    for overlay in (None, *sorted(given.root.glob("transformers-*"))):
        version, found = measured(sys.executable, LOAD, [*names], overlay)
        columns[version] = {names[folder]: judged(value) for folder, value in found.items()}
        print("transformers", version, columns[version], file=sys.stderr)
    of_timm = {}
    for overlay in sorted(given.root.glob("timm-*")):
        version, found = measured(given.timm_python, PROVE, [str(given.root / "timm"), *TIMM.values()], overlay)
        of_timm[version] = found
        print("timm", version, found, file=sys.stderr)
    lines = [BEGIN, "", "## Transformers", "", *table(TRANSFORMERS, columns), "", "## timm", "", *table(TIMM, of_timm)]
    text = given.page.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    measures = "\n".join(lines)
    given.page.write_text(f"{before}{measures}\n\n{END}{rest.partition(END)[2]}", encoding="utf-8")


if __name__ == "__main__":
    main()
