"""The decoder of a whole MAE: its sizes are in its shapes, but for the number of heads and what training hides."""

from __future__ import annotations

from dinoport.codebases.codebase import Evidence, Facts
from dinoport.codebases.shapes import count_blocks, required
from dinoport.errors import SettingError
from dinoport.model import Origin, Setting
from dinoport.networks.vit.architecture import Decoder

DECODER = "decoder_pred.weight"
"""The name that tells one."""

HEADS, MASK_RATIO = 16, 0.75
"""Of all published MAEs (`models_mae.py`), and the default of `main_pretrain.py`."""


def read_decoder(evidence: Evidence, facts: Facts) -> tuple[Decoder, tuple[Setting[object], ...]]:
    """Raises SettingError where the number of its heads cannot be what is said or assumed."""
    shapes = evidence.shapes
    width = required(shapes, DECODER, 2, evidence.where)[1]
    hidden = required(shapes, "decoder_blocks.0.mlp.fc1.weight", 2, evidence.where)[0]
    heads, ratio = _heads(evidence, facts, width), _mask_ratio(evidence, facts)
    given = evidence.wishes.normed_loss
    normed = evidence.arguments.get("norm_pix_loss") if given is None else given
    depth = count_blocks(shapes, "decoder_blocks.")
    decoder = Decoder(width, depth, heads.value, hidden, ratio.value, normed_loss=normed is True)
    return decoder, (
        heads,
        Setting("decoder width", width, Origin.STORED, DECODER),
        Setting("decoder depth", depth, Origin.STORED, "numbered decoder_blocks"),
        ratio,
    )


def _heads(evidence: Evidence, facts: Facts, width: int) -> Setting[int]:
    wishes = evidence.wishes
    heads = wishes.decoder_heads or HEADS
    if width % heads:
        who = wishes.speaker("decoder_heads") if wishes.decoder_heads else facts.as_in_all()
        raise SettingError(
            f"the number of heads of the decoder of {evidence.where} is not known",
            expected=f"a divisor of its width, {width}",
            found=f"{heads} ({who})",
            next_step="add `decoder_heads=N`, with decoder_num_heads from the code that trained the model",
            missing="decoder_heads",
        )
    if wishes.decoder_heads:
        return Setting("decoder heads", heads, wishes.origin("decoder_heads"), wishes.reason("decoder_heads"))
    return Setting("decoder heads", heads, Origin.ASSUMED, facts.as_in_all(), doubted=True)


def _mask_ratio(evidence: Evidence, facts: Facts) -> Setting[float]:
    said = evidence.wishes.mask_ratio
    if said is not None:
        return Setting("mask ratio", said, evidence.wishes.origin("mask_ratio"), evidence.wishes.reason("mask_ratio"))
    argued = evidence.arguments.get("mask_ratio")
    if isinstance(argued, float) and 0 < argued < 1:
        return Setting("mask ratio", argued, Origin.INFERRED, "args.mask_ratio")
    return Setting("mask ratio", MASK_RATIO, Origin.ASSUMED, "the default of main_pretrain.py")
