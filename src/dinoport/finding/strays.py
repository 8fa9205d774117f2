"""What lies beside a backbone: parts of it under another prefix, and what its own code may compute otherwise with."""

from collections.abc import Iterable, Iterator, Mapping

from dinoport.codebases.stranger_signs import NECK
from dinoport.errors import CheckpointError
from dinoport.finding.choosing import Found
from dinoport.mapping.claims import claims_of_target
from dinoport.mapping.folding import fold_names
from dinoport.model import Origin, Setting, Wishes
from dinoport.networks.network import Architecture, optional_names
from dinoport.tensor import Shape

TRAINING_ALONE = ("mask_token",)
"""A decoder may have one of its own, and no output depends on it."""


def refuse_lost(where: str, found: Found, model: Architecture, wishes: Wishes) -> None:
    """Raise CheckpointError where the chosen copy of a model lacks a tensor that another copy of it has.

    Copies of one training run have the same names; one that lost a bias of every block would be read as a model
    without biases.
    """
    own = found.state.tensors
    for other in found.others if found.state.branch else ():
        more = {name: tensor.shape for name, tensor in other.tensors.items() if name not in own}
        if other.branch and own.keys() < other.tensors.keys() and found.state.shapes.items() <= other.shapes.items():
            absent = optional_names(model) - {*TRAINING_ALONE}
            rules = found.naming.rules(other.shapes, wishes)
            lost = [name for name in more if any(claim.source in absent for claim in claims_of_target(name, rules))]
            if lost:
                raise CheckpointError(
                    f"{where} has a part of its model in {other.label} alone",
                    expected=f"the same names in {found.state.label} as in {other.label}",
                    found=f"{', '.join(lost[:5])}, which {found.state.label} lacks",
                    cause="a damaged file, or two models of one run that differ",
                    next_step=f"to take the other one: add `checkpoint_key={(other.path or other.branch)!r}`",
                )


def refuse_strays(
    where: str,
    found: Found,
    model: Architecture,
    others: Mapping[str, Shape],
    shapes: Mapping[str, Shape],
    wishes: Wishes,
) -> None:
    """Raise CheckpointError where a tensor that the backbone may have, and has not, is among the `others`.

    `shapes` are those of the backbone's own tensors; `others` lie outside of it.
    """
    absent = (optional_names(model) if others else frozenset()) - {*TRAINING_ALONE}
    rules = found.naming.rules({**others, **shapes}, wishes) if absent else ()
    strays = [name for name in others if any(claim.source in absent for claim in claims_of_target(name, rules))]
    if strays:
        raise CheckpointError(
            f"{where} holds a part of its backbone under another prefix than the rest",
            expected="all tensors of the model under one prefix",
            found=", ".join(found.state.originals.get(name, name) for name in strays[:5]),
            cause="state dicts that were merged, or names that were changed",
            next_step="save the state dict of the backbone on its own with torch.save",
        )


BUILT_IN = frozenset({
    "adapter", "adapters", "prompt", "prompts", "prompt_embeddings", "prompt_tokens", "deep_prompt_embeddings", "reins",
    "modulation", "modulations", "injectors", "interactions", "attn_mask_probs",
})  # fmt: skip
"""Parts of names of what lies beside a backbone and works inside it: visual prompts, Rein's tokens, EoMT's queries."""


def of_host(lead: tuple[str, ...], outside: Iterable[str], architecture: object) -> Iterator[Setting[str]]:
    """What is assumed of a ViT that what holds it may compute otherwise: TransReID's patches are 16 pixels wide, every
    12, and Depth Anything 3 gives the last norm the eps of torch's own (`dinov2/vision_transformer.py`, `block.py`).
    """
    if hasattr(architecture, "patch_size") and any(map(NECK.search, outside)):
        reason = "a re-identifier's may overlap, as TransReID's do, and no tensor shows it"
        yield Setting("patches", "side by side", Origin.ASSUMED, reason, doubted=True)
    if lead[-2:] == IN_DEPTH_ANYTHING_3:
        reason = "Depth Anything 3 has 1e-05 there, and no tensor shows it"
        yield Setting("eps of the last norm", "that of all", Origin.ASSUMED, reason, doubted=True)


IN_DEPTH_ANYTHING_3 = ("backbone", "pretrained")
"""What stands in front of its DINOv2; Depth Anything V2, whose eps are those of a DINOv2, has `pretrained` alone."""


def of_built_in(outside: Iterable[str]) -> list[str]:
    """A word on what may change the backbone in the code that it comes from, though no tensor of it shows that."""
    parts = {name: {*name.split("."), *(part.rpartition("_")[2] for part in name.split("."))} for name in outside}
    found = [name for name, own in parts.items() if not BUILT_IN.isdisjoint(own)]
    if not found:
        return []
    names = ", ".join(fold_names(found)[:3])
    return [f"beside the backbone lies {names}: if its own code uses that inside the backbone, outputs differ"]
