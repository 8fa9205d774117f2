"""Fuzz one target with atheris, guided by coverage, from the seeds and what earlier runs kept.

    python -m tests.fuzz.run TARGET [CORPUS_FOLDER] [libFuzzer's options, such as -max_total_time=60]
    python -m tests.fuzz.run TARGET FILE…    (once, to see again what was found)

atheris is in requirements.txt beside this file, and not among the project's own dependencies.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import atheris

with atheris.instrument_imports(include=["dinoport"]):
    from tests.fuzz.seeds import seeds
    from tests.fuzz.targets import TARGETS, run

WORDS = {
    "pickle": ["torch._utils\\n_rebuild_tensor_v2\\n", "torch\\nFloatStorage\\n", "collections\\nOrderedDict\\n",
               "builtins\\ngetattr\\n", "_codecs\\nencode\\n", "numpy.core.multiarray\\nscalar\\n", "numpy\\ndtype\\n",
               "torch._utils\\n_rebuild_parameter\\n", "storage", "_parameters", "_modules", "teacher"],
    "zip": ["PK\\x01\\x02", "PK\\x03\\x04", "PK\\x05\\x06", "PK\\x06\\x06", "PK\\x06\\x07", "\\xff\\xff\\xff\\xff"],
    "header": ["data_offsets", "dtype", "shape", "__metadata__", "F64", "BOOL", "F8_E4M3", "\\\\u0000"],
    "yaml": ["!!python/object/apply:os.system", "&a", "*a", "<<:", "? ", "---", "!!binary", "1:2:3"],
}  # fmt: skip
"""What libFuzzer may put in."""


SAME_WORDS = {"legacy": "pickle", "metadata": "pickle", "safetensors": "header"}


def main() -> None:
    name = sys.argv[1]
    target = TARGETS[name]
    folders = [argument for argument in sys.argv[2:] if not argument.startswith("-")]
    options = [argument for argument in sys.argv[2:] if argument.startswith("-")]
    if folders and all(Path(path).is_file() for path in folders):
        fuzz(target, [*options, *folders])
    corpus = Path(folders[0] if folders else f".fuzz/{name}")
    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(seeds()[name]):
        (corpus / f"seed-{number}").write_bytes(seed)
    limits = ["-timeout=30", "-rss_limit_mb=1024", f"-artifact_prefix={corpus.parent}/{name}-"]
    words = WORDS.get(SAME_WORDS.get(name, name))
    if words:
        dictionary = corpus.parent / f"{name}.dict"
        dictionary.write_text("".join(f'"{word}"\n' for word in escaped(words)))
        limits.append(f"-dict={dictionary}")
    fuzz(target, [*limits, *options, str(corpus)])


def fuzz(target: Callable[[bytes], None], arguments: list[str]) -> NoReturn:
    atheris.Setup([sys.argv[0], *arguments], lambda data: run(target, data) and None)
    atheris.Fuzz()
    sys.exit()


def escaped(words: list[str]) -> list[str]:
    """As libFuzzer's dictionaries have it: newlines in hexadecimal."""
    return [word.replace("\\n", "\\x0A") for word in words]


if __name__ == "__main__":
    main()
