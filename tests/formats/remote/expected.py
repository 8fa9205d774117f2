"""The checkpoint that the addresses of these tests lead to, and whether it arrived."""

import numpy as np

from dinoport.finding.unwrap import state_dicts
from dinoport.formats.checkpoint import Checkpoint
from dinoport.formats.opening import open_checkpoint
from dinoport.formats.values import announce
from tests.goldens import FOLDER

LOCAL = FOLDER / "dino1" / "tiny32" / "checkpoint.pth"
DATA = LOCAL.read_bytes()


def same_tensors(found: Checkpoint) -> bool:
    """Whether every tensor of a checkpoint is what the local file holds, after it was announced."""
    with open_checkpoint(LOCAL) as local:
        for ours, theirs in zip(state_dicts(found), state_dicts(local), strict=True):
            announce(ours.tensors.values())
            for name, tensor in theirs.tensors.items():
                np.testing.assert_array_equal(ours.tensors[name].read(), tensor.read())
    return True
