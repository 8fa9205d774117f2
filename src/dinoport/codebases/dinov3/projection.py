"""The projection heads of DINOv3's training: those that a source has, and those that have to be made."""

from collections.abc import Collection, Iterator, Mapping

import numpy as np

from dinoport.errors import SettingError
from dinoport.formats.run_config import RunConfig
from dinoport.mapping.constants import Seeded, zeros
from dinoport.mapping.rule import Rule, make
from dinoport.shown.text import value_text
from dinoport.tensor import Shape, TensorRef

HEADS = ("dino", "ibot")
HEAD_SIZES = {"head_hidden_dim": 2048, "head_bottleneck_dim": 256, "head_n_prototypes": 65536, "head_nlayers": 3}
"""Of a projection head, as `dinov3/configs/ssl_default_config.yaml` has them."""

MAX_HEAD = 2**24
"""Of each of these; a config is not trusted with more."""

DEVIATION = 0.02
MADE_HEAD = "made for training: the source has no projection head, and the trainer stops without"


def made_heads(sizes: Mapping[str, Mapping[str, int]], width: int, there: Collection[str]) -> Iterator[Rule]:
    """What has to be made of both heads of a backbone of this `width`, beside what is there: as the code begins."""
    for head in HEADS:
        for name, shape in head_of(head, width, sizes[head]).items():
            if name not in there:
                constant = zeros(*shape) if name.endswith(".bias") else Seeded(shape, DEVIATION)
                yield make(name, constant, because=f"{MADE_HEAD}: {constant}")


FIRST = 64
"""How many values of a layer are looked at: no two of these generators agree in so many."""


def made_before(beside: Mapping[str, TensorRef]) -> frozenset[str]:
    """The tensors of those heads in which every layer begins with the values that are made for it, and none trained."""
    found: set[str] = set()
    for head in HEADS:
        own = {name: tensor for name, tensor in beside.items() if name.startswith(f"{head}_head.")}
        weights = [tensor for name, tensor in own.items() if name.endswith(".weight")]
        if weights and all(_begins_as_made(tensor) for tensor in weights):
            found |= own.keys()
    return frozenset(found)


def _begins_as_made(tensor: TensorRef) -> bool:
    stop = min(FIRST, tensor.size)
    float32 = np.dtype(np.float32)
    own = Seeded(tensor.shape, DEVIATION).tensor(tensor.name, float32)
    made, there = (np.concatenate(list(each.values.blocks(0, stop, FIRST))) for each in (own, tensor))
    return bool(np.array_equal(made.astype(tensor.dtype), there))


def head_of(head: str, width: int, sizes: Mapping[str, int]) -> dict[str, Shape]:
    """The tensors of a projection head (`dinov3/layers/dino_head.py`)."""
    hidden, bottleneck, layers = sizes["head_hidden_dim"], sizes["head_bottleneck_dim"], sizes["head_nlayers"]
    widths = [width, *[hidden] * (layers - 1), bottleneck]
    shapes: dict[str, Shape] = {}
    for at in range(layers):
        own = f"{head}_head.mlp.{2 * at}" if layers > 1 else f"{head}_head.mlp"
        shapes |= {f"{own}.weight": (widths[at + 1], widths[at]), f"{own}.bias": (widths[at + 1],)}
    return shapes | {f"{head}_head.last_layer.weight": (sizes["head_n_prototypes"], bottleneck)}


def sizes_of(own: Mapping[str, Shape], head: str) -> dict[str, int]:
    """The sizes of a head that the source has; none where it has none."""
    first, last = own.get(f"{head}_head.mlp.0.weight"), own.get(f"{head}_head.last_layer.weight")
    if first is None or last is None or len(first) != 2 or len(last) != 2:
        return {}
    layers = sum(name.startswith(f"{head}_head.mlp.") and name.endswith(".weight") for name in own)
    return dict(zip(HEAD_SIZES, (first[0], last[1], last[0], layers), strict=True))


def sizes_said(config: RunConfig | None, head: str) -> dict[str, int]:
    """The sizes of a head that has to be made: the config's, else the code's defaults."""
    sizes = {}
    for name, default in HEAD_SIZES.items():
        said = config.value(f"{head}.{name}", default) if config else default
        if type(said) is not int or not 0 < said <= (16 if name == "head_nlayers" else MAX_HEAD):
            raise SettingError(
                f"{config.where if config else 'the config'} gives a projection head a size that it cannot have",
                where=f"{head}.{name}",
                expected="a whole number above 0",
                found=value_text(said, 100),
                next_step="mend the config, or leave `config` out for the code's default sizes",
            )
        sizes[name] = said
    return sizes
