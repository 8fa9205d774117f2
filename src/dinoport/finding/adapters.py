"""A state dict with the low-rank parts in it merged into the layers that carry them."""

from dataclasses import replace

from dinoport.codebases.frameworks import Said
from dinoport.finding.bare_names import anchor_of
from dinoport.finding.unwrap import StateDict
from dinoport.request import Request


def without_adapters(where: str, state: StateDict, request: Request, said: Said) -> StateDict:
    """The state dict as its model would be once its adapters are merged; as it is where it carries none.

    Raises UnknownModelError for adapters that are not merged here, SettingError where nothing says how strong they are.
    """
    from dinoport.codebases.peft.low_rank_parts import carries_adapters, merge_within, refuse_unmerged

    leads = {name.removesuffix(anchor) for name in state.tensors if (anchor := anchor_of(name))}
    if not carries_adapters(state.tensors):
        refuse_unmerged(where, state.tensors, leads)
        return state
    alpha = request.lora_alpha or (said.stated["lora_alpha"].value if "lora_alpha" in said.stated else None)
    merging = merge_within(where, state.tensors, alpha)
    refuse_unmerged(where, merging.tensors, leads)
    tensors = {name: tensor.renamed(name) for name, tensor in merging.tensors.items()}
    originals = {
        name: state.originals.get(old, old) if name == old else _as_in(state, name, old)
        for name, old in merging.renamed.items()
    }
    notes = (*state.notes, *merging.notes)
    state = replace(state, tensors=tensors, originals=originals, notes=notes, remarks=merging.remarks)
    return replace(state, doubts=merging.doubts)


def _as_in(state: StateDict, name: str, old: str) -> str:
    """A name that is not a name of the file, with what stood in front of the one that it comes from."""
    original = state.originals.get(old, old)
    return original[: len(original) - len(old)] + name if original.endswith(old) else name
