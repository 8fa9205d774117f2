"""Which packages are installed, and what a command has to say where some are missing."""

import re
from collections.abc import Iterable
from importlib.util import find_spec

PROOF = ("torch", "transformers", "PIL")
"""What the full proof imports."""

PIP = {"PIL": "pillow"}
"""What pip calls a module, where it has another name."""

IMPORTED = re.compile(r"(?:from|import) (\w+)\b")

BESIDES = {"transformers": ("torch", "transformers"), "timm": ("torch", "timm")}
"""What an import needs, where it is more than the package itself."""


def missing(*modules: str) -> list[str]:
    """Those that are not installed, under the names that pip knows."""
    return [PIP.get(name, name) for name in modules if find_spec(name) is None]


def installing(packages: Iterable[str], *options: str) -> str:
    """The command that installs packages, by the names that pip knows: no name of ours, which a checkout has not."""
    return " ".join(["pip install", *options, *packages])


def saved_again(*options: str) -> str:
    """How weights of another framework become PyTorch's; Transformers 5 loads them no more."""
    loaded = " or ".join(f"{option}=True" for option in options)
    return f"load it in Transformers 4{f' with {loaded}' if loaded else ''}, and save_pretrained"


def needed_by(lines: Iterable[str]) -> list[str]:
    """What lines of Python import and is not installed."""
    found = [match[1] for line in lines if (match := IMPORTED.match(line))]
    needed = dict.fromkeys(name for each in found for name in BESIDES.get(each, (each,)))
    if any("AutoImageProcessor" in line for line in lines):
        needed["PIL"] = None
    return missing(*needed)
