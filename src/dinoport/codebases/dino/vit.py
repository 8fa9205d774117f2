"""Read a DINO ViT's sizes: all of them are in the shapes, but for the number of heads."""

from dataclasses import replace

from dinoport.codebases.builder import HEAD_DIM, Belief, SaidInTraining, believe, heads_of
from dinoport.codebases.codebase import Evidence, Facts, HubEntry, Reading
from dinoport.codebases.decoder import DECODER, read_decoder
from dinoport.codebases.dino.trained import SIGNS as SIGNS
from dinoport.codebases.drops import CENTER, OF_DINO_VIT
from dinoport.codebases.shapes import required
from dinoport.codebases.vit_sizes import read_sizes
from dinoport.errors import UnknownModelError
from dinoport.mapping.claims import compare_shapes
from dinoport.model import Family, Origin, Setting, columns_setting, eps_setting, fixed, interpolation_setting
from dinoport.networks.interpolation import SCALE_WITH_OFFSET
from dinoport.networks.network import Classifier, Features
from dinoport.networks.preprocessing import EVALUATION
from dinoport.networks.vit.architecture import ViT
from dinoport.tensor import shape_text

BUILDERS = {"vit_tiny": (192, 3, 12), "vit_small": (384, 6, 12), "vit_base": (768, 12, 12)}
"""Width, heads and depth of the builders in `vision_transformer.py`, by the `arch` that `main_dino.py` stores."""

FIXED = {"activation": "exact gelu", "qk scale": "head_dim ** -0.5"}
"""What `vision_transformer.py` computes with, and no tensor shows."""

FACTS = Facts("DINO", interpolation=SCALE_WITH_OFFSET, says_builder=True)

MLP = "blocks.0.mlp.fc1.weight"


def read(evidence: Evidence) -> Reading:
    """The architecture of a DINO ViT. Raises PlanError where sizes cannot be read, SettingError for the heads."""
    facts = evidence.facts or FACTS
    shapes = evidence.shapes
    sizes = read_sizes(shapes, evidence.where, table=True)
    hidden = required(shapes, MLP, 2, evidence.where)[0]
    said = _said(evidence)
    belief = believe(said, BUILDERS, sizes) if facts.says_builder else Belief(said)
    held = heads_of(evidence, sizes, facts, belief)
    heads = held.setting
    from_code = belief.from_code(facts.as_in_all())
    eps = eps_setting(evidence.wishes, 1e-6, *from_code)
    rule = from_code if not facts.rule else (Origin.ASSUMED, facts.rule)
    interpolation = interpolation_setting(evidence.wishes, facts.interpolation or SCALE_WITH_OFFSET, *rule)
    if facts.takes_one_size and interpolation.origin is Origin.ASSUMED:
        interpolation = replace(interpolation, doubted=True)
    decoder, of_decoder = read_decoder(evidence, facts) if DECODER in shapes else (None, ())
    architecture = ViT(
        width=sizes.width,
        depth=sizes.depth,
        heads=heads.value,
        mlp_hidden=hidden,
        patch_size=sizes.patch_size,
        image_size=sizes.image_size,
        channels=sizes.channels,
        cls_token="cls_token" in shapes,
        distillation_token="dist_token" in shapes,
        pooled_norm="fc_norm.weight" in shapes,
        layer_scale="blocks.0.ls1.gamma" in shapes,
        qkv_bias="blocks.0.attn.qkv.bias" in shapes,
        layer_norm_eps=eps.value,
        interpolation=interpolation.value,
        classifier=_classifier(evidence, sizes.width),
        decoder=decoder,
    )
    columns = _head_columns(evidence, architecture.classifier)
    settings = (
        heads,
        *sizes.settings(hidden, MLP),
        eps,
        *fixed(FIXED, *from_code),
        interpolation,
        *columns,
        *of_decoder,
    )
    problems = tuple(compare_shapes(shapes, architecture.tensors()))
    return Reading(architecture, settings, problems, (), None, held.reading, held.warnings, belief.remarks)


def _head_columns(evidence: Evidence, classifier: Classifier | None) -> tuple[Setting[str], ...]:
    """What `eval_linear.py` writes with `n_last_blocks=2` has the shape and the name of what it writes for ViT-B/16."""
    if classifier is None or (evidence.head is None and classifier.features is not Features.CLS_MEAN_INTERLEAVED):
        return ()
    own = ("linear",) if classifier.features is Features.CLS else ()
    return (columns_setting(classifier.features.value, evidence.head, own, "eval_linear.py"),)


def _classifier(evidence: Evidence, width: int) -> Classifier | None:
    """What a linear classifier takes, told by its columns. Raises UnknownModelError where no class computes that."""
    shape = evidence.shape("classifier.weight")
    if shape is None:
        return None
    columns = shape[1] if len(shape) == 2 else 0
    if columns == width and "classifier_dist.weight" in evidence.tensors:
        return Classifier(Features.CLS_AND_DISTILLATION, shape[0])
    if columns == width:
        normed_mean = "fc_norm.weight" in evidence.tensors
        return Classifier(Features.NORMED_MEAN if normed_mean else Features.CLS, shape[0])
    if columns == 2 * width:
        return Classifier(Features.CLS_MEAN_INTERLEAVED, shape[0])
    tokens = (
        f"{columns // width} CLS tokens of the last blocks" if columns and columns % width == 0 else "other features"
    )
    raise UnknownModelError(
        "this linear head cannot be converted: no class of Transformers or timm computes its features",
        where=f"{evidence.classifier}.weight",
        expected=f"{width} columns (the CLS token) or {2 * width} (CLS token and patch mean)",
        found=f"shape {shape_text(shape)}: {tokens}",
        cause="facebookresearch/dino trains its ViT-S heads on the CLS tokens of the last four blocks",
        next_step="leave `head` out; the features are layernorm(hidden_states[-4:])[:, 0], oldest block first",
    )


def _said(evidence: Evidence) -> SaidInTraining:
    """What `main_dino.py` keeps besides its weights; it calls the DeiT builders by their old name too."""
    arguments = evidence.arguments
    arch = str(arguments.get("arch", "")).replace("deit", "vit")
    return SaidInTraining("the checkpoint's args", arch, arguments.get("patch_size"))


def hub_entry(architecture: ViT, image_size: int) -> HubEntry | None:
    name = {384: "dino_vits", 768: "dino_vitb"}.get(architecture.width)
    usual = ViT(
        width=architecture.width,
        depth=12,
        heads=architecture.width // HEAD_DIM,
        mlp_hidden=4 * architecture.width,
        patch_size=architecture.patch_size,
        image_size=architecture.image_size,
        channels=architecture.channels,
        interpolation=architecture.interpolation,
        classifier=architecture.classifier,
    )
    if name is None or architecture.patch_size not in (8, 16) or architecture != usual:
        return None
    channels = {} if architecture.channels == 3 else {"in_chans": architecture.channels}
    size = {} if image_size == 224 else {"img_size": [image_size]}
    return HubEntry("facebookresearch/dino", f"{name}{architecture.patch_size}", {**size, **channels})


FAMILY = Family(
    name="dino",
    title="DINO ViT",
    upstream="facebookresearch/dino",
    drops=OF_DINO_VIT,
    states=(CENTER,),
    preprocessing=EVALUATION,
    classifiers=("linear", "head"),
)
