"""A side of a proof that is run by a class of its own: what it loaded, and what comes out of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from dinoport.tensor import Array


@dataclass(frozen=True)
class LoadingProof:
    """What a class reported when it loaded a folder. `library` and `version` are whose class it is; `absent` says that
    this version has it not, which shows nothing of the folder.
    """

    class_name: str
    version: str
    library: str = "transformers"
    missing: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()
    mismatched: tuple[str, ...] = ()
    failure: str | None = None
    absent: str | None = None

    @property
    def passed(self) -> bool:
        return not (self.missing or self.unexpected or self.mismatched or self.failure or self.absent)

    @property
    def loader(self) -> str:
        """What loaded, in words: a library, or dinoport in the place of code that was not run."""
        if self.library == "dinoport":
            return f"a replay by dinoport {self.version} (the code itself was not run)"
        return f"{self.library} {self.version}"


@dataclass(frozen=True)
class Pass:
    """One input through a model: outputs by name, what comes out of the embedding and every block, by canonical name,
    and `shared`, what the network's own forward pass is to be given of it: rotary sines and cosines.
    """

    outputs: Mapping[str, Any]
    blocks: Mapping[str, Any] = field(default_factory=dict)
    shared: Mapping[str, Any] = field(default_factory=dict)


class Runner(Protocol):
    """A model that a library loads from a folder and runs, in float64 unless it says otherwise."""

    @property
    def absent(self) -> str | None:
        """Why it cannot be run here, such as a library that is not installed; None where it can."""
        ...

    @property
    def imports(self) -> tuple[str, ...]:
        """The names of Transformers that it will import."""
        ...

    def load(self, dtype: str) -> LoadingProof:
        """Load it in a dtype that holds its weights."""
        ...

    def run_both(self, pixels: Array) -> tuple[Pass, Pass]:
        """Run it on (batch, channels, height, width) in float32, as people do, and in float64."""
        ...

    def run(self, images: Any) -> Pass:
        """Run it on a torch tensor of float64."""
        ...

    def attention(self, images: Any) -> tuple[Pass, Any]:
        """The same, and how much the CLS token attends to every token in the last block; None without attention."""
        ...
