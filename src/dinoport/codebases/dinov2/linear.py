"""The linear classifiers of DINOv2's evaluation: what their names say, and which one its run found the best.

`dinov2/eval/linear.py` trains one for each number of blocks, kind of pooling and learning rate, all of them at once.
"""

import json
import re
from collections.abc import Iterator

from dinoport.files.names import is_name

RESULTS = "results_eval_linear.json"
"""Beside the classifiers: for each evaluation a line `iter: N`, then an object on a line of its own."""

MAX_RESULTS_BYTES = 4 * 1024 * 1024

NAME = re.compile(r"(?:.*\.)?classifier_(?P<blocks>\d{1,3})_blocks_avgpool_(?P<pooled>True|False)_lr_\w+(?:\.linear)?")


def features_of(layer: str) -> tuple[int, bool] | None:
    """Of how many blocks a classifier takes the CLS tokens, and whether it takes the patch mean; None for other names.

    The number of columns does not tell: two blocks without the mean have as many as one block with it.
    """
    match = NAME.fullmatch(layer)
    return (int(match["blocks"]), match["pooled"] == "True") if match else None


def best_of(results: bytes) -> tuple[str, str] | None:
    """The best classifier of the last evaluation in a file of results, and in words how good it was."""
    best = None
    iteration = ""
    for line in results.decode("utf-8", "replace").splitlines():
        if line.startswith("iter: "):
            iteration = line.removeprefix("iter: ").strip()
        for name, accuracy in _best(line):
            best = name, f"accuracy {accuracy:.4g}" + (f" at iteration {iteration}" if iteration.isdecimal() else "")
    return best


def _best(line: str) -> Iterator[tuple[str, float]]:
    try:
        found = json.loads(line) if line.startswith('{"best_classifier"') else None
    except (ValueError, RecursionError):
        return
    best = found.get("best_classifier") if isinstance(found, dict) else None
    if isinstance(best, dict):
        name, accuracy = best.get("name"), best.get("accuracy")
        if isinstance(name, str) and is_name(name) and isinstance(accuracy, int | float):
            yield name, accuracy
