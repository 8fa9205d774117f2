"""What the rotary periods of a DINOv3 ViT say, and what is taken where they are left out: base and number of heads."""

from collections.abc import Iterator

import numpy as np

from dinoport.codebases.builder import checked_heads
from dinoport.codebases.codebase import Evidence
from dinoport.codebases.dinov3.refusals import measured
from dinoport.codebases.dinov3.signs import PERIODS
from dinoport.codebases.run import number
from dinoport.codebases.shapes import required
from dinoport.codebases.vit_sizes import ViTSizes
from dinoport.errors import SettingError, UnknownModelError
from dinoport.mapping.constants import Listed
from dinoport.mapping.rule import Rule, drop
from dinoport.model import Origin, Setting, Stated, Wishes
from dinoport.networks.rotary_vit.architecture import RotaryViT
from dinoport.networks.rotary_vit.rope import MAX_THETA, UNKNOWN_BASE, Rope, find_base, powers, rounds_to
from dinoport.shown.calls import call
from dinoport.shown.text import counted
from dinoport.tensor import BFLOAT16

ROPE_BASE = "student.pos_embed_rope_base"


def read_rope(evidence: Evidence) -> Rope:
    """Raises PlanError where there are no periods, UnknownModelError where no base gives them."""
    required(evidence.shapes, PERIODS, 1, evidence.where)
    tensor = evidence.tensors[PERIODS]
    values = tensor.read().reshape(-1)
    found = find_base(values) if tensor.is_float and values.size else None
    base = evidence.wishes.rope_theta or number(evidence, ROPE_BASE)
    if found is not None and found.rounded and base is not None and rounds_to(base, values):
        return Rope(float(base), rounded=True)
    if found is not None:
        return found
    shown = ", ".join(f"{float(value):.4g}" for value in values[:4])
    error = f"outputs would be off {measured(0.8)}"
    cause = f"a model trained with min_period and max_period; if it were left out, {error}"
    next_step = "keep this model in its own code"
    if not values.any():
        cause = "a file without its values: saved under torch.serialization.skip_data, or a copy that was not filled"
        next_step = "fetch the file again"
    elif values.dtype == np.float16:
        cause = "a model that was cast to float16, the periods too, which then follow no base any more"
        next_step = "give the weights as they were before the cast; `dtype='float16'` rounds them here"
    raise UnknownModelError(
        f"no base gives the rotary periods of {evidence.where}, and Transformers stores a base alone",
        where=PERIODS,
        expected="base ** (2k / (head dimension / 2)) for one base",
        found=f"{shown}{' …' if values.size > 4 else ''}",
        cause=cause,
        next_step=next_step,
    )


def base_setting(evidence: Evidence, rope: Rope) -> Setting[float]:
    wishes = evidence.wishes
    unheld = PERIODS in evidence.declared
    if "rope_theta" in wishes.stated and wishes.rope_theta == rope.theta and (unheld or rope.rounded):
        return Setting("rope base", rope.theta, *wishes.said("rope_theta"), doubted=wishes.doubted("rope_theta"))
    for value, reason, origin, doubted in base_of_run(evidence).values():  # by which the periods are made anew
        return Setting("rope base", value, origin, reason, doubted=doubted)
    if unheld:
        return Setting("rope base", rope.theta, Origin.ASSUMED, "as in all released DINOv3 ViTs")
    if wishes.rope_theta == rope.theta and "rope_theta" not in wishes.stated:
        return Setting("rope base", rope.theta, Origin.INFERRED, f"rope_theta in {wishes.said_by}")
    if not rope.rounded:
        return Setting("rope base", rope.theta, Origin.STORED, PERIODS)
    if evidence.config is not None and number(evidence, ROPE_BASE) == rope.theta:
        return Setting("rope base", rope.theta, Origin.INFERRED, f"{evidence.config.name}; {PERIODS} are rounded")
    reason = f"the shortest number whose powers bfloat16 rounds to {PERIODS}"
    return Setting("rope base", rope.theta, Origin.INFERRED, reason)


def base_of_run(evidence: Evidence) -> dict[str, Stated]:
    """The base from which a run's own code has made the periods, where the file keeps none and nobody else says it."""
    base = number(evidence, ROPE_BASE)
    if evidence.config is None or base is None or not 0 < base < MAX_THETA:
        return {}
    if PERIODS not in evidence.declared or evidence.wishes.rope_theta is not None:
        return {}
    reason = f"{ROPE_BASE} in {evidence.config.name}"
    return {"rope_theta": Stated(float(base), reason, Origin.INFERRED, doubted=base != UNKNOWN_BASE)}


def heads_setting(evidence: Evidence, sizes: ViTSizes) -> Setting[int]:
    """As many as the width holds of four times the periods: each axis rotates half a head, in pairs."""
    periods = evidence.tensors[PERIODS].size
    given = evidence.wishes.num_heads
    if sizes.width % (4 * periods):
        raise SettingError(
            f"the rotary periods of {evidence.where} do not fit its width",
            where=PERIODS,
            expected=f"a quarter of a head's width, and heads that fill {sizes.width}",
            found=counted(periods, "period"),
            next_step=call("inspect", evidence.where),
        )
    heads = sizes.width // (4 * periods)
    if given is not None and checked_heads(evidence.where, evidence.wishes, sizes.width, given) != heads:
        raise SettingError(
            f"{evidence.wishes.asked('num_heads')} contradicts the tensors of {evidence.where}",
            where=PERIODS,
            expected=f"{counted(heads, 'head')}: width {sizes.width} / (4 × {counted(periods, 'period')})",
            found=str(given),
            next_step="leave `num_heads` out: DINOv3 stores the number of heads",
        )
    if PERIODS in evidence.declared:
        if given:
            return Setting("heads", heads, *evidence.wishes.said("num_heads"))
        return Setting("heads", heads, Origin.ASSUMED, f"width / {sizes.width // heads}")
    return Setting("heads", heads, Origin.STORED, f"{counted(periods, 'period')} in {PERIODS}")


HEAD_DIMS = {4096: 128}
"""Width of one head by the model's width; 64 in all others that were published."""


def assumed_head_dim(width: int, wishes: Wishes) -> int:
    """Raises SettingError where nobody says the number of heads, and it does not follow from the width."""
    head_dim = HEAD_DIMS.get(width, 64)
    if wishes.num_heads and width % wishes.num_heads == 0:
        head_dim = width // wishes.num_heads
    if width and width % head_dim == 0 and head_dim % 4 == 0:
        return head_dim
    raise SettingError(
        "the number of attention heads of this model is not known",
        expected="a width that 64 divides, or `num_heads` that gives heads of a multiple of 4",
        found=f"width {width}",
        cause="these names leave out the rotary periods that tell it",
        next_step="add `num_heads=N`, with N from the code or config that built the model",
        missing="num_heads",
    )


def buffers(vit: RotaryViT, computed: str, masked: str) -> Iterator[Rule]:
    """What the original keeps as buffers, and another codebase has no tensors for: it returns as what it follows from.

    `computed` and `masked` are the reasons to drop periods and masks.
    """
    values, words = powers(vit.rope_theta, vit.head_dim // 4), f"the powers of {vit.rope_theta:g}"
    if vit.rope_rounded:
        values, words = values.astype(BFLOAT16).astype(np.float64), f"{words}, rounded to bfloat16"
    yield drop(PERIODS, because=computed, returns=Listed(tuple(values), words))
    if vit.qkv_bias and vit.key_bias_mask:
        thirds = (1.0, 1.0 if vit.live_key_bias else 0.0, 1.0)
        mask = Listed(tuple(value for value in thirds for _ in range(vit.width)), f"thirds of {thirds}")
        for index in range(vit.depth):
            yield drop(f"blocks.{index}.attn.qkv.bias_mask", because=masked, returns=mask)
