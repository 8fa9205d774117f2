"""A file of every relative, tiny, as its own code writes it. A new relative adds a line here and no test code."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from dinoport.networks.interpolation import BILINEAR_ANTIALIASED, TO_SIZE
from dinoport.networks.network import Features
from dinoport.networks.vit.architecture import Decoder
from dinoport.request import Request
from tests import formula
from tests.families.cases import bare, tensors
from tests.models import CONVNEXT, RESNET, V2, V2_SWIGLU, V3, VIT, classifying, renamed

State = dict[str, formula.Array]
GRID = VIT.grid


def waves(places: formula.Array, width: int) -> formula.Array:
    angles = np.outer(places, 1 / 10_000 ** (np.arange(width // 2) / (width / 2)))
    return np.concatenate([np.sin(angles), np.cos(angles)], axis=1)


def with_fixed_table(state: State, *, rows_first: bool) -> State:
    """The position table of sines and cosines: MAE's columns first, MoCo v3's rows first; zeros for the CLS token."""
    width, rows = state["pos_embed"].shape[-1], state["pos_embed"].shape[1]
    row, column = np.divmod(np.arange(GRID**2), GRID)
    first, second = (row, column) if rows_first else (column, row)
    table = np.zeros((rows, width), np.float32)
    table[-(GRID**2) :] = np.concatenate([waves(first, width // 2), waves(second, width // 2)], axis=1)
    return {**state, "pos_embed": table[None]}


def by_formula(name: str, shape: tuple[int, ...]) -> formula.Array:
    """As `tests.formula`, with the names that relatives have beside DINO's."""
    leaf, one, tenth = name.rsplit(".", 1)[-1], np.float32(1), np.float32(0.1)
    if leaf.startswith("gamma"):
        return one + tenth * formula.noise(name, shape)
    if leaf == "dist_token":
        return np.float32(0.5) * formula.noise(name, shape)
    return formula.state_dict({name: shape})[name]


def of_columns(state: State) -> State:
    return with_fixed_table(state, rows_first=False)


def of_rows(state: State) -> State:
    return with_fixed_table(state, rows_first=True)


def scaled_as_in_timm(state: State) -> State:
    return {name.replace(".ls1.gamma", ".gamma_1").replace(".ls2.gamma", ".gamma_2"): v for name, v in state.items()}


def without_cls_row(state: State) -> State:
    return {**scaled_as_in_timm(state), "pos_embed": state["pos_embed"][:, 1:]}


def two_heads(state: State) -> State:
    return renamed(state, "classifier_dist", "head_dist")


def as_it_is(state: State) -> State:
    return state


def noise(*names: str, shape: tuple[int, ...] = (4, 4)) -> State:
    return {name: formula.tensor(name, shape) for name in names}


def other(state: Mapping[str, formula.Array]) -> State:
    """Another copy of the model, which must not be taken."""
    return {name: np.asarray(values + np.ones_like(values)) for name, values in state.items()}


def under(prefix: str, state: Mapping[str, formula.Array]) -> State:
    return {f"{prefix}{name}": values for name, values in state.items()}


def mae_run(state: State) -> object:
    decoder = noise("decoder_embed.weight", "decoder_blocks.0.attn.qkv.weight", "decoder_blocks.0.norm1.bias")
    whole = {**state, **decoder, **noise("mask_token", "decoder_pos_embed", shape=(1, 1, 4))}
    return {"model": whole, "optimizer": {"state": {}}, "epoch": 1, "scaler": {}}


def published(state: State) -> object:
    return {"model": state}


def ibot_run(state: State) -> object:
    heads = noise("head.mlp.0.weight", "head.last_layer.weight_g", "head.last_layer2.weight_g")
    student = under("module.backbone.", {**other(state), **noise("masked_embed", shape=(1, 64))})
    teacher = {**under("backbone.", state), **heads}
    return {"student": student, "teacher": teacher, "epoch": 1, "ibot_loss": noise("center", "center2")}


def msn_run(state: State) -> object:
    projector = noise("fc.fc1.weight", "fc.bn1.running_mean", "fc.fc3.bias")
    both = {"encoder": under("module.", {**other(state), **projector})}
    target = {"target_encoder": under("module.", {**state, **projector})}
    return {**both, "opt": {}, "prototypes": formula.tensor("p", (4, 4)), **target, "epoch": 1}


def moco_run(state: State) -> object:
    names = [f"head.{n}.weight" for n in (0, 1, 3)] + ["head.7.running_var", "head.7.num_batches_tracked"]
    base = under("module.base_encoder.", {**state, **noise(*names)})
    momentum = under("module.momentum_encoder.", {**other(state), **noise(*names)})
    predictor = noise("module.predictor.0.weight")
    return {"epoch": 1, "arch": "vit_base", "state_dict": {**momentum, **base, **predictor}, "optimizer": {}}


def moco_probe(state: State) -> object:
    return {"epoch": 1, "arch": "vit_base", "state_dict": under("module.", state), "best_acc1": 1}


def ijepa_run(state: State) -> object:
    predictor = under("module.", noise("predictor_embed.weight", "predictor_blocks.0.attn.qkv.weight"))
    copies = {"encoder": under("module.", other(state)), "target_encoder": under("module.", state)}
    return {**copies, "predictor": predictor, "opt": {}, "scaler": None, "epoch": 1}


def deit_run(state: State) -> object:
    from argparse import Namespace

    return {"model": state, "model_ema": other(state), "args": Namespace(model="deit_tiny_patch16_224"), "epoch": 1}


def timm_run(state: State) -> object:
    from argparse import Namespace

    return {"arch": "vit_tiny_patch16_224", "state_dict": state, "args": Namespace(model="vit_tiny_patch16_224")}


def franca_run(state: State) -> object:
    heads = noise(*(f"dino_head.{part}.0.weight" for part in ("matryoshka_projections", "mlps.0", "last_layers")))
    return {"teacher": {**under("backbone.", state), **heads}}


def on_the_hub(state: State) -> object:
    return {
        **under("vision_encoder.", state),
        **noise("text_encoder.token_embedding.weight"),
        "temperature": np.ones(()),
    }


def simdino_run(state: State) -> object:
    head = noise("head.mlp.0.weight", "head.mlp.4.bias")
    student = under("module.backbone.", other(state))
    return {"student": student, "teacher": {**under("backbone.", state), **head}, "epoch": 1, "dino_loss": {}}


def simdinov2_run(state: State) -> object:
    return {"teacher": {**under("backbone.", state), **noise("dino_head.mlp.0.weight", "ibot_head.mlp.0.bias")}}


def with_projectors(state: State) -> object:
    return {**state, **noise("projectors.heads.dinov3radio.0.weight")}


TIPS = replace(V2, registers=1, interpolation=BILINEAR_ANTIALIASED)
WHOLE = replace(VIT, interpolation=TO_SIZE, decoder=Decoder(width=32, depth=1, heads=2, mlp_hidden=48))
GAP = classifying(replace(VIT, pooled_norm=True, interpolation=TO_SIZE), 5, Features.NORMED_MEAN)
BOTH = classifying(replace(VIT, distillation_token=True, interpolation=TO_SIZE), 5, Features.CLS_AND_DISTILLATION)
SCALED = replace(VIT, layer_scale=True)
TO_ANY = replace(VIT, interpolation=TO_SIZE)
TIMM = replace(VIT, width=192, heads=3)
PATCHES = replace(TO_ANY, cls_token=False)


@dataclass(frozen=True)
class Case:
    """`own` gives the state of canonical names the relative's own names, `wrap` puts it into a file."""

    name: str
    family: str
    architecture: Any
    class_name: str
    wrap: Callable[[State], object] = bare
    own: Callable[[State], State] = as_it_is
    request: Request = field(default_factory=Request)
    classifier: str = ""
    file: str = "checkpoint.pth"
    told_by: str = ""

    @property
    def title(self) -> str:
        """What an example of it is, for the documentation."""
        parts = ["With a classifier" if self.architecture.classifier else "A backbone"]
        parts += ["layer scale"] if self.class_name.startswith("Dinov2") and self.own is not as_it_is else []
        parts += ["the mean of patches normed"] if getattr(self.architecture, "pooled_norm", False) else []
        parts += ["and its decoder"] if getattr(self.architecture, "decoder", None) else []
        parts += ["a distillation token"] if getattr(self.architecture, "distillation_token", False) else []
        return ", ".join(parts)

    def canonical(self) -> State:
        return formula.state_dict(self.architecture.tensors())

    def state(self) -> State:
        return renamed(self.own(self.canonical()), "classifier", self.classifier or "classifier")

    def write(self, folder: Path) -> Path:
        import torch

        folder.mkdir(parents=True, exist_ok=True)
        torch.save(tensors(self.wrap(self.state())), folder / self.file)
        return folder / self.file


def asked(family: str) -> Request:
    return Request(codebase=family)


LAYER_SCALES = (
    "layer scales, and no position of the CLS token; nothing tells it from a RoPE-ViT with a table, whose attention "
    "rotates too; --codebase decides"
)

# fmt: off
CASES = (
    Case("ibot", "ibot", VIT, "ViTModel", ibot_run, told_by="head.last_layer2.weight_g"),
    Case("ibot-layer-scale", "ibot", SCALED, "Dinov2Model", ibot_run, scaled_as_in_timm,
         told_by="head.last_layer2.weight_g"),
    Case("ibot-layer-scale-bare", "ibot", SCALED, "Dinov2Model", own=scaled_as_in_timm,
         told_by="layer scales called gamma_1, and a position of the CLS token; --codebase decides"),
    Case("moco", "moco_v3", TO_ANY, "ViTModel", moco_run, of_rows,
         told_by="the prefix state_dict.module.base_encoder"),
    Case("moco-bare", "moco_v3", TO_ANY, "ViTModel", published, of_rows,
         told_by="a position table of sines and cosines, rows first"),
    Case("moco-probe", "moco_v3", classifying(TO_ANY, 5), "ViTForImageClassification", moco_probe, classifier="head",
         told_by="arch = vit_base beside state_dict"),
    Case("mae", "mae", TO_ANY, "ViTModel", mae_run, of_columns, told_by="decoder_embed.weight"),
    Case("mae-bare", "mae", TO_ANY, "ViTModel", published, of_columns,
         told_by="a position table of sines and cosines, columns first"),
    Case("mae-pooled", "mae", GAP, "BeitForImageClassification", published, of_columns, classifier="head",
         told_by="a position table of sines and cosines, columns first"),
    Case("mae-pooled-backbone", "mae", replace(GAP, classifier=None), "BeitModel", published, of_columns,
         told_by="a position table of sines and cosines, columns first"),
    Case("mae-whole", "mae", WHOLE, "ViTMAEForPreTraining", published, of_columns,
         request=Request(class_name="ViTMAEForPreTraining", decoder_heads=2), told_by="decoder_embed.weight"),
    Case("mae-pooled-moved", "mae", GAP, "BeitForImageClassification", published, classifier="head",
         told_by="fc_norm in the place of norm, as MAE is fine-tuned; --codebase decides"),
    Case("msn-class", "msn", TO_ANY, "ViTMSNModel", msn_run, request=Request(class_name="ViTMSNModel"),
         told_by="fc.fc1.weight"),
    Case("msn", "msn", TO_ANY, "ViTModel", msn_run, told_by="fc.fc1.weight"),
    Case("msn-classifying", "msn", classifying(TO_ANY, 5), "ViTMSNForImageClassification", msn_run,
         request=Request(class_name="ViTMSNForImageClassification"), classifier="head", told_by="fc.fc1.weight"),
    Case("deit-run", "deit", classifying(TO_ANY, 5), "ViTForImageClassification", deit_run, classifier="head",
         told_by="args.model, deit_tiny_patch16_224"),
    Case("deit-distilled", "deit", BOTH, "DeiTForImageClassificationWithTeacher", published, two_heads,
         classifier="head", told_by="dist_token"),
    Case("deit-distilled-backbone", "deit", replace(BOTH, classifier=None), "DeiTModel", published,
         told_by="dist_token"),
    Case("deit3", "deit3", classifying(replace(SCALED, interpolation=TO_SIZE), 5), "Dinov2ForImageClassification",
         published, without_cls_row, classifier="head", told_by=LAYER_SCALES),
    Case("deit3-backbone", "deit3", replace(SCALED, interpolation=TO_SIZE), "Dinov2Model", published, without_cls_row,
         told_by=LAYER_SCALES),
    Case("ijepa", "ijepa", PATCHES, "IJepaModel", ijepa_run, of_columns),
    Case("simdino", "simdino", VIT, "ViTModel", simdino_run, told_by="a projection head without a last layer"),
    Case("simdinov2", "simdinov2", V2, "Dinov2Model", simdinov2_run,
         told_by="a projection head without a last layer; --codebase decides"),
    Case("xray-dino", "xray_dino", V2, "Dinov2Model", file="xray_dino_vitl16_pretrained-ad31c2b0.pth",
         told_by="the file's name; --codebase decides"),
    Case("cell-dino", "cell_dino", replace(V2, channels=4), "Dinov2Model", file="cell_dino_hpa_vitl16.pth",
         told_by="the file's name; --codebase decides"),
    Case("tips", "tips", TIPS, "Dinov2WithRegistersModel", told_by="exactly one register; --codebase decides"),
    Case("tips-hub", "tips", TIPS, "Dinov2WithRegistersModel", on_the_hub, told_by="the prefix vision_encoder"),
    Case("tips-so400m", "tips", replace(TIPS, mlp_hidden=239), "Tipsv2VisionModel",
         told_by="exactly one register; --codebase decides"),
    Case("franca", "franca", V2_SWIGLU, "Dinov2Model", franca_run,
         told_by="dino_head.matryoshka_projections.0.weight"),
    Case("eupe", "eupe", V3, "DINOv3ViTModel", with_projectors, told_by="projectors.heads.dinov3radio.0.weight"),
    Case("eupe-convnext", "eupe_convnext", CONVNEXT, "DINOv3ConvNextModel", with_projectors,
         told_by="projectors.heads.dinov3radio.0.weight"),
    Case("webssl-dino", "webssl_dino", V2_SWIGLU, "Dinov2Model", file="webssl_dino300m_full2b_224.pth",
         told_by="the file's name; --codebase decides"),
    Case("lingbot", "lingbot", V3, "DINOv3ViTModel", file="lingbot-vision.pt",
         told_by="the file's name; --codebase decides"),
    Case("timm-convnext", "timm_convnext", CONVNEXT, "DINOv3ConvNextModel", request=asked("timm_convnext"),
         told_by="--codebase"),
    Case("timm", "timm_vit", classifying(VIT, 5), "ViTForImageClassification", classifier="head",
         request=asked("timm_vit"), told_by="--codebase"),
    Case("timm-run", "timm_vit", classifying(TIMM, 5), "ViTForImageClassification", timm_run, classifier="head",
         told_by="args of timm's train.py, vit_tiny_patch16_224"),
    Case("timm-file", "timm_vit", classifying(TIMM, 5), "ViTForImageClassification", classifier="head",
         file="vit_tiny_patch16_224.augreg_in21k.pth", told_by="the file's name; --codebase decides"),
    Case("unknown", "vit", VIT, "ViTModel"),
    Case("unknown-resnet", "resnet", RESNET, "ResNetModel"),
    Case("unknown-resnet-classifier", "resnet", classifying(RESNET, 5, Features.POOLED), "ResNetForImageClassification",
         classifier="fc"),
)
# fmt: on
BY_NAME = {case.name: case for case in CASES}
