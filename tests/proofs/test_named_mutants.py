"""Every mutant that the outputs proof rejects is named: the block in which it begins, and what it is."""

from pathlib import Path

import pytest

from dinoport.proofs.diagnosis.diagnosis import AFTER, ROTATION
from dinoport.proofs.prove import prove
from dinoport.proofs.verdict import Word, judge
from dinoport.report.report import Report, Source, account
from dinoport.request import Checks
from tests.proofs.faults import assert_named
from tests.proofs.mutants import GROUPS, Group, Mutant
from tests.proofs.planting import plant

pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("jinja2")

HEADS = "the number of heads: the folder computes with 4, the original with 2"
TANH = "the activation: the folder computes gelu approximated by tanh, the original exact gelu"
QUERIES = "queries and keys are swapped in every block"
SCALES = "ls1 and ls2 are swapped in every block"
LATER = "the patches' rows of the position table stand one place later"


def eps(theirs: str, ours: str = "1e-06") -> str:
    return f"eps: the folder computes with {theirs}, the original with {ours}"


VIT = {
    "twice the heads": ("blocks.0", HEADS),
    "eps 1e-12 for 1e-6": ("blocks.0", eps("1e-12")),
    "eps 1e-5 for 1e-6": ("blocks.0", eps("1e-05")),
    "GELU by tanh": ("blocks.0", TANH),
    "queries and keys swapped": ("blocks.0", QUERIES),
    "norm1 and norm2 swapped": ("blocks.0", "norm1 and norm2 are swapped in every block"),
    "two blocks swapped": ("blocks.0", "blocks.0 and blocks.1 are swapped"),
    "position table shifted by one": ("embedding", LATER),
    "position table shifted by one, CLS too": (
        "embedding",
        "all rows of the position table stand one place later, the CLS token's too",
    ),
}

NAMED = {
    "DINO ViT, trained weights": VIT,
    "DINO ViT, random weights": VIT | {"baked table shifted by one": ("embedding", LATER)},
    "DINO ResNet": {
        "stride in the 1×1 (downsample_in_bottleneck)": (
            "layer2.0",
            "the stride of a bottleneck: the folder has it in the first 1×1 convolution, the original in the 3×3",
        ),
        "two BatchNorms of a block swapped": ("layer1.0", "bn1 and bn2 are swapped in the first block of every stage"),
        "running mean and bias swapped": ("embedding", "running_mean and bias of every BatchNorm are swapped"),
        "shortcut and last BatchNorm swapped": ("layer1.0", "bn3 and downsample.1 are swapped in every block"),
    },
    "DINOv2, SwiGLU": {
        "twice the heads": ("blocks.0", HEADS),
        "eps 1e-12 for 1e-6": ("blocks.0", eps("1e-12")),
        "eps 1e-5 for 1e-6": ("blocks.0", eps("1e-05")),
        "w1 and w2 swapped": ("blocks.0", "the gate and the value of mlp.w12 are swapped in every block"),
        "layer scales swapped": ("blocks.0", SCALES),
        "chunks in another order": ("blocks.1", "blocks.1 and blocks.2 are swapped"),
        "baked table shifted by one": ("embedding", LATER),
    },
    "DINOv2 with registers": {
        # This mutant is one of the original's code, so it is the other way round.
        "registers behind the patches": (
            AFTER,
            "registers stand behind the patches in the original, before them in the folder",
        ),
        "registers shifted by one": ("embedding", "the registers stand one place later"),
        "queries and keys swapped": ("blocks.0", QUERIES),
    },
    "DINOv3, masked key bias": {
        "twice the heads": ("blocks.0", HEADS),
        "eps 1e-6 for 1e-5": ("blocks.0", eps("1e-06", "1e-05")),
        "GELU by tanh": ("blocks.0", TANH),
        "bias_mask ignored": ("blocks.0", "the mask on the keys' bias is left out"),
        "layer scales swapped": ("blocks.0", SCALES),
        "queries and keys swapped": ("blocks.0", f"the weights of {QUERIES}, their biases are not"),
        "rope_theta 100.1 for 100": (
            ROTATION,
            "the base of the rotary positions: the folder computes with 100.1, the original with 100",
        ),
    },
    "DINOv3, gated": {
        "w1 and w2 swapped": ("blocks.0", "mlp.w1 and mlp.w2 are swapped in every block"),
        "GELU for SiLU": ("blocks.0", "the activation: the folder computes exact gelu, the original silu"),
    },
    "DINOv3, live key bias": {"key bias dropped": ("blocks.0", "the biases of the keys are left out")},
    "DINOv3 ConvNeXt": {
        "eps 1e-5 for 1e-6": ("embedding", eps("1e-05")),
        "GELU by tanh": ("stages.0.0", TANH),
        "two blocks swapped": ("stages.0.0", "stages.0.0 and stages.0.1 are swapped"),
    },
}
"""The first block that differs, and the cause, by the names in `tests.proofs.mutants`."""


@pytest.mark.parametrize(
    ("group", "mutant"), [pytest.param(g, m, id=f"{g.name}: {m.name}") for g in GROUPS for m in g.mutants]
)
def test_a_mutant_is_named(group: Group, mutant: Mutant, tmp_path: Path) -> None:
    report = failed(group, mutant, tmp_path)
    assert report.verdict.word is Word.NOT_EQUAL
    block, cause = NAMED[group.name][mutant.name]
    # Tables are compared in float32, sines and cosines too: what is left of those is one rounding.
    assert_named(report, block, cause, 1e-12 if mutant.relative is not None else 1e-6)


def test_every_mutant_has_its_name() -> None:
    named = [(group, mutant) for group, mutants in NAMED.items() for mutant in mutants]
    assert named == [(group.name, mutant.name) for group in GROUPS for mutant in group.mutants]
    assert len(named) == 46


def failed(group: Group, mutant: Mutant, folder: Path) -> Report:
    """The report on a folder with the mutant in it, as a verification would end with."""
    it = plant(group.original, mutant.mistake, folder)
    proofs, family = prove(it.case, Checks()), it.case.source.model.family
    return Report(
        verdict=judge(proofs, ()),
        direction="to transformers",
        source=Source("checkpoint.pth", "PyTorch", 0, "the only one", (), ()),
        family=family.title,
        class_name=it.target.form,
        ends=(family.title, it.target.title),
        target="folder",
        request={},
        settings=(),
        accounting=account(it.plan, (), {}),
        proofs=proofs,
    )
