"""The decoder of a whole MAE: its sizes are in its shapes, but for the number of heads and what training hides."""

from dataclasses import replace

from dinoport.codebases.codebase import Evidence, Facts
from dinoport.codebases.heads import UNSEEN, head_reader, read_from_weights
from dinoport.codebases.shapes import count_blocks, required
from dinoport.errors import SettingError
from dinoport.model import Origin, Setting
from dinoport.networks.vit.architecture import Decoder

DECODER = "decoder_pred.weight"
"""The name that tells one."""

BLOCKS = "decoder_blocks."

MASK_RATIO = 0.75
"""The default of `main_pretrain.py`."""


def read_decoder(evidence: Evidence, facts: Facts) -> tuple[Decoder, tuple[Setting[object], ...]]:
    """Raises SettingError where the number of its heads cannot be what is said or assumed."""
    shapes = evidence.shapes
    width = required(shapes, DECODER, 2, evidence.where)[1]
    hidden = required(shapes, "decoder_blocks.0.mlp.fc1.weight", 2, evidence.where)[0]
    depth = count_blocks(shapes, BLOCKS)
    heads, ratio = _heads(evidence, facts, width, depth), _mask_ratio(evidence, facts)
    given = evidence.wishes.normed_loss
    normed = evidence.arguments.get("norm_pix_loss") if given is None else given
    decoder = Decoder(width, depth, heads.value, hidden, ratio.value, normed_loss=normed is True)
    return decoder, (
        heads,
        Setting("decoder width", width, Origin.STORED, DECODER),
        Setting("decoder depth", depth, Origin.STORED, "numbered decoder_blocks"),
        ratio,
    )


def _heads(evidence: Evidence, facts: Facts, width: int, depth: int) -> Setting[int]:
    """Who says it, else all published models of this size, else the weights. Raises SettingError where nobody does."""
    wishes = evidence.wishes
    if wishes.decoder_heads:
        if width % wishes.decoder_heads:
            raise _unknown(evidence, width, f"{wishes.decoder_heads} ({wishes.speaker('decoder_heads')})")
        return Setting("decoder heads", wishes.decoder_heads, *wishes.said("decoder_heads"))
    published = facts.decoder_heads.get((width, depth))
    if published is not None:
        reason = f"as in all {facts.models} decoders of width {width} and depth {depth}"
        return Setting("decoder heads", published, Origin.ASSUMED, reason, doubted=True)
    blocks = {
        f"blocks.{name.removeprefix(BLOCKS)}": tensor
        for name, tensor in evidence.tensors.items()
        if name.startswith(BLOCKS)
    }
    read = read_from_weights(head_reader(blocks, width)())
    if read is None:
        raise _unknown(evidence, width, f"a decoder of width {width} and depth {depth}; the weights cannot tell")
    return replace(read.setting, name="decoder heads")


def _unknown(evidence: Evidence, width: int, found: str) -> SettingError:
    return SettingError(
        f"the number of heads of the decoder of {evidence.where} is not known",
        expected=f"a divisor of its width, {width}",
        found=found,
        cause=UNSEEN,
        next_step="add `decoder_heads=N`, with decoder_num_heads from the code that trained the model",
        missing="decoder_heads",
    )


def _mask_ratio(evidence: Evidence, facts: Facts) -> Setting[float]:
    said = evidence.wishes.mask_ratio
    if said is not None:
        return Setting("mask ratio", said, *evidence.wishes.said("mask_ratio"))
    argued = evidence.arguments.get("mask_ratio")
    if isinstance(argued, float) and 0 < argued < 1:
        return Setting("mask ratio", argued, Origin.INFERRED, "args.mask_ratio")
    return Setting("mask ratio", MASK_RATIO, Origin.ASSUMED, "the default of main_pretrain.py")
