"""A side that no library has a class for: the network's own forward pass over its canonical tensors."""

from typing import Any

from dinoport import __version__
from dinoport.codebases.running import LoadingProof, Pass
from dinoport.model import Model
from dinoport.proofs.weights import Weights, floats
from dinoport.tensor import Array


class NetworkRunner:
    """Runs a model in float64; in float32 nobody runs it this way, so that pass is the same."""

    def __init__(self, model: Model) -> None:
        self._architecture, self._state = model.architecture, Weights(floats(model.tensors))
        self._title = model.title

    absent = None
    imports = ()

    def load(self, dtype: str) -> LoadingProof:
        """Nothing is loaded: a tensor of another shape than the model's would end its pass."""
        wanted, table = self._architecture.tensors(), self._architecture.positions
        held = {name: tensor.shape for name, tensor in self._state.tensors.items() if name != table}
        mismatched = tuple(name for name, shape in held.items() if wanted.get(name, shape) != shape)
        return LoadingProof(self._title, __version__, library="dinoport", mismatched=mismatched)

    def run(self, images: Any) -> Pass:
        blocks: dict[str, Any] = {}
        network = self._architecture.network
        return Pass(network.code.forward(self._state, self._architecture, images, blocks.__setitem__), blocks)

    def run_both(self, pixels: Array) -> tuple[Pass, Pass]:
        import torch

        wide = self.run(torch.from_numpy(pixels).double())
        return wide, wide

    def attention(self, images: Any) -> tuple[Pass, Any]:
        found = self.run(images)
        return found, None
