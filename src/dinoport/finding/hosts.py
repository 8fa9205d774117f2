"""What lies beside a backbone, and tells that its own code computes with it otherwise than its tensors show."""

from collections.abc import Iterable

from dinoport.codebases.stranger_signs import NECK
from dinoport.mapping.folding import fold_names
from dinoport.model import Origin, Setting

BUILT_IN = frozenset({
    "adapter", "adapters", "prompt", "prompts", "prompt_embeddings", "prompt_tokens", "deep_prompt_embeddings", "reins",
    "modulation", "modulations", "injectors", "interactions", "attn_mask_probs",
})  # fmt: skip
"""Parts of names of what lies beside a backbone and works inside it: visual prompts, Rein's tokens, EoMT's queries."""


def of_patches(outside: Iterable[str], architecture: object) -> list[Setting[str]]:
    """What is assumed of a ViT whose patches may overlap: TransReID's are 16 pixels wide, every 12."""
    if not hasattr(architecture, "patch_size") or not any(map(NECK.search, outside)):
        return []
    reason = "a re-identifier's may overlap, as TransReID's do, and no tensor shows it"
    return [Setting("patches", "side by side", Origin.ASSUMED, reason, doubted=True)]


def of_built_in(outside: Iterable[str]) -> list[str]:
    """A word on what may change the backbone in the code that it comes from, though no tensor of it shows that."""
    found = [name for name in outside if not BUILT_IN.isdisjoint(name.split("."))]
    if not found:
        return []
    names = ", ".join(fold_names(found)[:3])
    return [f"beside the backbone lies {names}: if its own code uses that inside the backbone, outputs differ"]
