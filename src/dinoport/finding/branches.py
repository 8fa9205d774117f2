"""Which of a checkpoint's branches is meant when none is asked for, and why."""

from collections.abc import Mapping

from dinoport.tensor import TensorRef

BRANCHES = ("teacher", "student", "model_ema", "state_dict_ema", "ema", "gram_teacher")
"""Copies of one model that a training run keeps side by side, under the names that the DINO codebases give them."""

PREFERENCE = ("teacher", "state_dict_ema", "model_ema", "ema", "", "student")
"""Which branch is meant when none is asked for: the teacher is what upstream evaluates and publishes, and timm's
`load_state_dict(use_ema=True)` takes `state_dict_ema` before all others."""

DISTILLED = ("model_ema", "ema", "student", "teacher")
"""The same where the teacher is another, larger model that is only learnt from: `distillation` of DINOv3's
`train/ssl_meta_arch.py`, which evaluates and publishes `model_ema`."""

BY_SHAPES = "the model that was distilled: the teacher is another one, as its shapes show"
"""The reason for a choice that holds only where the teacher's names are known."""

ANOTHER_SIZE = 1 / 8
"""More than this part of two backbones' tensors has other shapes where one is larger: a wider MLP changes a fifth."""

HEADS = ("dino_head.", "ibot_head.", "head.")


def preference(branches: Mapping[str, Mapping[str, TensorRef]], told: bool | None) -> tuple[tuple[str, ...], str]:
    """The order of preference, and the reason for its first choice among `branches`.

    `told` is what the run's config says about distillation; shapes decide where it says nothing or no.
    """
    chosen = next((branch for branch in PREFERENCE if branch in branches), "")
    learner = next((branch for branch in DISTILLED[:-1] if branch in branches), None)
    if "teacher" in branches and learner:
        if told:
            return DISTILLED, "the model that was distilled: the run's config says that the teacher is another one"
        if _differ(branches["teacher"], branches[learner]):
            return DISTILLED, BY_SHAPES
    if chosen == "teacher":
        return PREFERENCE, "which upstream evaluates and publishes"
    return PREFERENCE, "which comes first among the copies here"


def _differ(teacher: Mapping[str, TensorRef], learner: Mapping[str, TensorRef]) -> bool:
    """Whether two backbones are of different sizes; heads, and buffers that one of them lacks, do not matter.

    Another width shows in nearly every shape. A single tensor of another shape is damage, and the teacher is refused;
    so is one without blocks or stages, whose names are not known. Learners under other names have none to compare.
    """
    shared = [name for name in teacher if name in learner and not name.startswith(HEADS)]
    differing = sum(teacher[name].shape != learner[name].shape for name in shared)
    has_blocks = any(name.startswith(("blocks.", "stages.")) for name in teacher)
    deeper = bool(shared) and has_blocks and _depth(teacher) != _depth(learner)
    return deeper or differing > len(shared) * ANOTHER_SIZE


def _depth(tensors: Mapping[str, TensorRef]) -> int:
    return len({name.partition(".")[2].partition(".")[0] for name in tensors if name.startswith("blocks.")})
