"""A graph as a side of a proof: run in float64, with what comes out of its blocks, and the tables it computes with."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import prod
from typing import Any, ClassVar

import numpy as np

from dinoport.codebases.running import LoadingProof, Pass
from dinoport.exports.evaluation import Evaluation, Healing
from dinoport.exports.graph import Export
from dinoport.networks.network import Architecture
from dinoport.networks.observing import CLS_AND_PATCHES, EMBEDDING, PATCHES
from dinoport.tensor import Array, TensorRef

MAX_TABLES = 200
"""How many tensors are looked at in pairs: two in every block of a large model."""

PARTS_OF_TOKENS = {0: PATCHES, 1: CLS_AND_PATCHES}
"""What exports give beside all tokens, by how many tokens stand before the patches there."""

UNIT_CIRCLE = 1e-2
"""How far the squares of a cosine and a sine that float16 rounded may add up beside 1."""


@dataclass
class GraphRunner:
    """`ends` are the values that leave the network's blocks, `meant` the folds that tensors of the file are read as.

    `table_of` gives the position table that an embedding was made with; None where a network has none. `runtime` runs
    the file in float32. `kept` are constants that are weights of the model. `rounding` is as in Evaluation: a file of
    rounded weights is compared with the rounded original, and not with what rounds on the way. `uncompared` are not
    the network's outputs, `first` are those of the picture that is compared in full.
    """

    export: Export
    architecture: Architecture
    ends: Mapping[str, str] = field(default_factory=dict)
    meant: Mapping[str, Array] = field(default_factory=dict)
    kept: frozenset[str] = frozenset()
    rounding: bool = True
    table_of: Callable[[Any, Any], Any] | None = None
    runtime: Any = None
    healing: Healing = field(default_factory=Healing)
    uncompared: list[str] = field(default_factory=list)
    first: Mapping[str, Any] = field(default_factory=dict)

    absent: ClassVar[None] = None
    imports: ClassVar[tuple[str, ...]] = ()

    def load(self, dtype: str) -> LoadingProof:
        return LoadingProof(self.export.producer or "an exporter", str(self.export.opset), library="ONNX opset")

    def run_both(self, pixels: Array) -> tuple[Pass, Pass]:
        """By the runtime in float32, where there is one, and here in float64."""
        import torch

        wide = self.run(torch.from_numpy(pixels).double())
        self.first = wide.outputs
        narrow = self.runtime.run(pixels) if self.runtime is not None else []
        return Pass(named_outputs(narrow, self.architecture, pixels.shape[-2:])), wide

    def run(self, images: Any) -> Pass:
        shared: dict[str, Any] = {}
        if self.table_of is not None and tuple(images.shape[-2:]) != (self.architecture.image_size,) * 2:
            table = self._table(images)
            shared |= {"positions": table} if table is not None else {}
        found = self._run(images, self.healing)
        return Pass(found.outputs, found.blocks, {**found.shared, **shared})

    def as_written(self, images: Any) -> Pass:
        """The same with every constant as the file has it, rounded to float32."""
        return self._run(images, None)

    def attention(self, images: Any) -> tuple[Pass, Any]:
        return self.run(images), None

    def _run(self, images: Any, healing: Healing | None) -> Pass:
        blocks: dict[str, Any] = {}
        turned: dict[str, Any] = {}
        turning = {
            name: node.operator
            for node in self.export.graph.nodes
            if node.operator in ("Cos", "Sin")
            for name in node.outputs
        }

        def watch(name: str, value: Any) -> None:
            if name in self.ends:
                blocks[self.ends[name]] = value
            if name in turning:
                turned[turning[name]] = value

        results = self._evaluated(images, healing, watch)
        size = images.shape[-2:]
        named = named_outputs(results, self.architecture, size)
        kinds = [name_of_output(result, self.architecture, size) for result in results]
        names = self.export.graph.outputs
        self.uncompared[:] = [
            name for place, name in enumerate(names) if kinds[place] is None or kinds[place] in kinds[:place]
        ]
        rotation = self._rotation(turned, images)
        return Pass(named, blocks, {"rotation": rotation} if rotation else {})

    def _evaluated(self, images: Any, healing: Healing | None, watch: Callable[[str, Any], None]) -> list[Any]:
        """The graph's outputs; without `healing`, every constant is taken as it is written."""
        evaluation = Evaluation(
            self.export,
            healing or Healing(active=False),
            self.kept,
            self.meant if healing is not None else {},
            work_limit(self.architecture, images.shape),
            self.rounding,
        )
        return evaluation.run({self.export.graph.inputs[0].name: images}, watch)

    def _rotation(self, turned: Mapping[str, Any], images: Any) -> tuple[Any, Any] | None:
        """Sines and cosines, (patches, head dimension) each: computed in the graph, or written into it."""
        if not self.architecture.network.rotation:
            return None
        rows, columns = (side // self.architecture.cell for side in images.shape[-2:])
        found: list[tuple[float, tuple[Any, Any]]] = []
        for architecture in _with_other_heads(self.architecture):
            own = architecture.network.rotation_code.rotation_of(architecture, rows, columns)
            computed = _computed(turned, own[0].shape)
            if computed is not None:
                away = max(float((one - other).abs().max()) for one, other in zip(computed, own, strict=True))
                found.append((away, computed))
            elif not turned and (written := pair_of_tables(self.export.graph.constants, own)) is not None:
                return written
        return min(found, key=lambda each: each[0])[1] if found else None

    def _table(self, images: Any) -> Any:
        """The position table, from what the graph makes of another picture than the one that is compared."""
        end = next((name for name, module in self.ends.items() if module == EMBEDDING), None)
        if end is None or self.table_of is None:
            return None
        noise = np.random.default_rng(1).standard_normal(tuple(images.shape), dtype=np.float32)
        import torch

        other = torch.from_numpy(noise).double()

        def watch(name: str, value: Any) -> None:
            if name == end:
                raise _SeenError(value)

        try:
            self._evaluated(other, self.healing, watch)
        except _SeenError as seen:
            return self.table_of(other, seen.value)
        return None


def _with_other_heads(architecture: Any) -> Iterator[Any]:
    """A network that rotates, first as it is: a graph with other heads has tables of another width."""
    yield architecture
    for heads in range(1, architecture.width // 4 + 1):
        if heads != architecture.heads and architecture.width % (4 * heads) == 0:
            yield replace(architecture, heads=heads)


def _computed(turned: Mapping[str, Any], shape: Sequence[int]) -> tuple[Any, Any] | None:
    """The sines and cosines of a graph, (patches, head dimension): some compute half of them, as each stands twice."""
    import torch

    patches, width = shape
    sizes = {each.numel() for each in turned.values()}
    if len(turned) != 2 or len(sizes) != 1 or not sizes <= {patches * width, patches * width // 2}:
        return None
    sines, cosines = (turned[name].reshape(patches, -1) for name in ("Sin", "Cos"))
    if sines.shape[1] == width:
        return sines, cosines
    return torch.cat([sines, sines], 1), torch.cat([cosines, cosines], 1)


class _SeenError(Exception):
    def __init__(self, value: Any) -> None:
        super().__init__()
        self.value = value


def pair_of_tables(constants: Mapping[str, TensorRef], own: tuple[Any, Any]) -> tuple[Any, Any] | None:
    """The sines and cosines that a file holds for these patches: the pair that is nearest to `own`."""
    import torch

    names = rotation_tables(constants, own[0].numel())
    tables = [torch.from_numpy(constants[name].read(np.dtype(np.float64))).reshape(own[0].shape) for name in names]
    if not tables:
        return None
    nearest = [min(tables, key=lambda table: float((table - each).abs().max())) for each in own]
    return nearest[0], nearest[1]


def rotation_tables(constants: Mapping[str, TensorRef], size: int) -> tuple[str, ...]:
    """The tensors of so many values that are cosines and sines: two of them whose squares add up to 1 everywhere."""
    tables = {
        name: tensor.read(np.dtype(np.float64)).reshape(-1)
        for name, tensor in constants.items()
        if tensor.is_float and tensor.size == size
    }
    tables = dict(list(tables.items())[:MAX_TABLES])
    bounded = {name: values for name, values in tables.items() if abs(values).max() <= 1 + UNIT_CIRCLE}
    found: dict[str, None] = {}
    for name, values in bounded.items():
        for other, others in bounded.items():
            if name < other and abs(values**2 + others**2 - 1).max() <= UNIT_CIRCLE:
                found |= {name: None, other: None}
    return tuple(found)


WORK_SLACK, LEAST_WORK = 8, 1 << 32


def work_limit(architecture: Any, shape: Sequence[int]) -> int:
    """How many products a graph of the network may take for pictures of (batch, channels, height, width).

    Each weight meets each token, or in a network of convolutions each place of the finest map, half the picture's side.
    """
    batch, _, rows, columns = shape
    weights = sum(prod(each) for each in architecture.tensors().values())
    if hasattr(architecture, "heads"):
        tokens = (rows // architecture.cell) * (columns // architecture.cell) + architecture.prefix_tokens
        products = weights * tokens + 2 * architecture.depth * architecture.width * tokens**2
    else:
        products = weights * max(rows * columns // 4, 1)
    return int(WORK_SLACK * batch * products + LEAST_WORK)


def named_outputs(results: Sequence[Any], architecture: Architecture, size: Sequence[int]) -> dict[str, Any]:
    """The outputs under the names that the networks use, told by their shapes: exporters name them as they like.

    `size` is the picture's height and width.
    """
    found: dict[str, Any] = {}
    for result in results:
        name = name_of_output(result, architecture, size)
        if name is not None and name not in found:
            found[name] = result.flatten(1) if name == "pooled" else result
    return found


def name_of_output(result: Any, architecture: Architecture, size: Sequence[int]) -> str | None:
    """What an output is by its shape; None where no network has one of so many axes."""
    if result.dim() == 4 and result.shape[-2:] != (1, 1):
        return "feature_map"
    if result.dim() == 3:
        patches = (size[0] // architecture.cell) * (size[1] // architecture.cell)
        count = result.shape[1] - patches
        return "tokens" if count == architecture.prefix_tokens else PARTS_OF_TOKENS.get(count, "tokens")
    classifier = architecture.classifier
    if result.dim() == 2 and classifier is not None and result.shape[-1] == classifier.classes:
        return "logits"
    return "pooled" if result.dim() in (2, 4) else None
