"""The share of pictures that their nearest neighbours name right: `python nearest_neighbours.py FEATURES.npz`.

FEATURES.npz is what features.py writes for a folder with one folder of pictures for each class. Every picture is
classified by the K others that are most like it, as DINO's papers evaluate a backbone.
"""

from __future__ import annotations

import sys
from pathlib import Path, PurePath

import numpy as np

K, TEMPERATURE = 5, 0.07


def main(path: Path) -> float:
    with np.load(path) as found:
        features, names = found["features"].astype(np.float64), found["names"]
    classes, labels = np.unique([PurePath(str(name)).parts[0] for name in names], return_inverse=True)
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    likeness = features @ features.T
    np.fill_diagonal(likeness, -np.inf)  # a picture is no neighbour of its own
    nearest = np.argsort(-likeness, axis=1)[:, : min(K, len(names) - 1)]
    weights = np.exp(np.take_along_axis(likeness, nearest, axis=1) / TEMPERATURE)
    votes = np.stack(
        [np.where(labels[nearest] == each, weights, 0).sum(axis=1) for each in range(len(classes))], axis=1
    )
    share = float(np.mean(votes.argmax(axis=1) == labels))
    print(f"{share:.1%} of {len(names)} pictures of {len(classes)} classes")
    return share


if __name__ == "__main__":
    main(Path(sys.argv[1]))
