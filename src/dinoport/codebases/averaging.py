"""What an average of models keeps beside its weights: torch's `AveragedModel`, by which labs keep EMAs.

Its state dict has the model under `module.`, and one buffer more (`torch/optim/swa_utils.py`).
"""

from __future__ import annotations

from dinoport.mapping.rule import drop

AVERAGED = drop(
    "n_averaged", because="how many models torch's AveragedModel has averaged; no output depends on it once it is done"
)
