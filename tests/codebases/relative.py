"""A lab's own framework: the plain ViT under other names, with an eps of its own, and a decoder beside it.

This is all that a known network under other names takes: this file, and one line in the catalogue.
"""

from collections.abc import Mapping

from dinoport.codebases.builder import Belief, SaidInTraining, heads_setting
from dinoport.codebases.codebase import Evidence, Naming, Reading
from dinoport.codebases.shapes import required
from dinoport.codebases.vit_sizes import read_sizes
from dinoport.mapping.claims import compare_shapes
from dinoport.mapping.rule import Rule, copy, drop
from dinoport.model import Family, Origin, eps_setting
from dinoport.networks.preprocessing import EVALUATION
from dinoport.networks.vit.architecture import ViT
from dinoport.tensor import Shape

# fmt: off
RULES: tuple[Rule, ...] = (
    copy("cls_token",                "stem.class_token"),
    copy("pos_embed",                "stem.positions"),
    copy("patch_embed.proj.{p}",     "stem.patches.{p}"),
    copy("blocks.{i}.norm{n}.{p}",   "layers.{i}.ln{n}.{p}"),
    copy("blocks.{i}.attn.qkv.{p}",  "layers.{i}.attention.joint.{p}"),
    copy("blocks.{i}.attn.proj.{p}", "layers.{i}.attention.out.{p}"),
    copy("blocks.{i}.mlp.fc{n}.{p}", "layers.{i}.dense{n}.{p}"),
    copy("norm.{p}",                 "final.{p}"),
)
# fmt: on


def recognises(shapes: Mapping[str, Shape]) -> bool:
    return "stem.class_token" in shapes


def read(evidence: Evidence) -> Reading:
    sizes = read_sizes(evidence.shapes, evidence.where, table=True)
    hidden = required(evidence.shapes, "blocks.0.mlp.fc1.weight", 2, evidence.where)[0]
    heads = heads_setting(evidence.where, evidence.wishes, sizes.width, Belief(SaidInTraining("nobody"))).setting
    eps = eps_setting(evidence.wishes, 1e-12, Origin.ASSUMED, "as in the lab's code")
    architecture = ViT(
        width=sizes.width,
        depth=sizes.depth,
        heads=heads.value,
        mlp_hidden=hidden,
        patch_size=sizes.patch_size,
        image_size=sizes.image_size,
        layer_norm_eps=eps.value,
    )
    problems = tuple(compare_shapes(evidence.shapes, architecture.tensors()))
    return Reading(architecture, (heads, eps), problems)


FAMILY = Family(
    name="lab",
    title="Lab ViT",
    upstream="lab/vision",
    drops=(drop("decoder.{p}", because="the lab's decoder; no class has a place for it"),),
    preprocessing=EVALUATION,
)

NAMING = Naming("lab/vision", __name__, recognises, "lab")
