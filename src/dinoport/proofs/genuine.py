"""The outputs proof once more, against the originals' own code instead of our forward pass. Only where it is asked for.

It runs the `hubconf.py` of a folder, or of a repository that torch.hub downloads: code, with all that code may do. The
weights that it gets are the ones read here, so nothing is unpickled.
"""

from collections.abc import Container, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dinoport.codebases.catalogue import naming_of
from dinoport.codebases.codebase import HubEntry
from dinoport.errors import CheckpointError, DinoportError, SettingError, UsageError
from dinoport.files.address import refuse_empty
from dinoport.model import Model
from dinoport.networks.network import ROTATION_GATE
from dinoport.proofs.comparison import Comparison, state_as_written
from dinoport.proofs.difference import Difference, compare
from dinoport.proofs.verdict import GATE
from dinoport.proofs.weights import torch_tensor
from dinoport.request import Checks
from dinoport.shown.calls import FOLDER, SOURCE, call

HUB = "hub"
"""The value of --reference that means: the repository that torch.hub knows."""


@dataclass(frozen=True)
class Reference:
    """Whose code to run: a folder with a `hubconf.py`, or `hub`; and what of it builds the model."""

    where: str
    entry: HubEntry

    def __str__(self) -> str:
        source = f"{self.entry.repo} through torch.hub" if self.where == HUB else self.where
        return f"{self.entry.name} of {source}"


@dataclass(frozen=True)
class GenuineProof:
    """Differences by output name; `rotation` is that of DINOv3's sines and cosines, which are compared apart.

    With `rounded` periods the genuine ones are others by bfloat16's rounding, which the verdict says already.
    """

    code: str
    differences: Mapping[str, Difference] = field(default_factory=dict)
    rotation: float | None = None
    rounded: bool = False
    failure: str | None = None

    @property
    def worst(self) -> float:
        return max((difference.relative for difference in self.differences.values()), default=float("inf"))

    @property
    def passed(self) -> bool:
        rotated = self.rotation is None or self.rounded or self.rotation <= ROTATION_GATE
        return self.failure is None and self.worst <= GATE and rotated


def entry_of(model: Model, image_size: int, checks: Checks) -> HubEntry | None:
    """The entry of the original's own hubconf.py that builds a model; None where it is not asked for.

    Raises SettingError where none builds it. Sizes that an entry takes as arguments are given to it; whatever it fixes
    must agree, eps and all.
    """
    if checks.reference is None:
        return None
    naming = naming_of(model.family.name)
    build = getattr(naming.code, "hub_entry", None) if naming else None
    entry: HubEntry | None = build(model.architecture, image_size) if build else None
    if entry is None:
        raise SettingError(
            "`reference`: no entry of torch.hub builds this model",
            expected="the sizes and settings of a published model",
            found=str(model.architecture),
            next_step="leave `reference` out: the proof against our own forward pass covers every size",
        )
    return entry


def check_reference(where: str | None, level: str, to: str = "transformers") -> None:
    """Raise UsageError or SettingError for a --reference that cannot be run, before any work."""
    if where is None:
        return
    if level != "full":
        raise UsageError(
            f"`reference` compares outputs, which `level={level!r}` leaves out",
            next_step="leave `level` out, or `reference`",
        )
    if to not in ("transformers", "training"):
        raise UsageError(
            f"`reference` goes with a conversion to Transformers, not `to={to!r}`",
            next_step="leave `reference` out; "
            f"{call('verify', SOURCE, FOLDER, reference=where)} compares the folder itself",
        )
    refuse_empty("`reference`", where)
    if where == HUB:
        _refuse_offline()
    elif not (Path(where) / "hubconf.py").is_file():
        raise SettingError(
            f"`reference={where}` is not a folder with a hubconf.py",
            expected="hub, or a checkout of facebookresearch/dino, dinov2 or dinov3",
            next_step="clone the original's repository with git, and give its folder",
        )


def _refuse_offline() -> None:
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        raise SettingError(
            "`reference='hub'` fetches the originals' code, and HF_HUB_OFFLINE is set",
            next_step="unset HF_HUB_OFFLINE, or give the folder of a checkout: `reference=FOLDER`",
        )


def prove(reference: Reference, case: Comparison, beside: Container[str], images: Any) -> GenuineProof:
    """Build the genuine model, give it the original's weights, and compare on `images` in float64.

    `beside` are the names of tensors that are not part of the backbone that it builds. Raises CheckpointError where the
    code cannot be run; a model that does not take the weights is a failed proof.
    """
    import torch

    code = str(reference)
    model = _built(reference)
    weights = {name: torch_tensor(tensor) for name, tensor in case.tensors.items() if not tensor.is_float}
    weights |= dict(state_as_written(case))
    model = model.double()
    found = model.load_state_dict(weights, strict=False)
    surplus = [name for name in found.unexpected_keys if name not in beside]
    if found.missing_keys or surplus:
        lost = f"misses {', '.join(found.missing_keys[:3])}" if found.missing_keys else ""
        left = f"does not know {', '.join(surplus[:3])}" if surplus else ""
        return GenuineProof(code, failure="it " + " and ".join(filter(None, (lost, left))))
    with torch.inference_mode():
        theirs = case.runner.run(images)
        shared = case.shared(theirs)
        rotation = _rotate_alike(model, shared["rotation"], images, case) if shared else None
        ours = _genuine_outputs(model, images)
    rounded = getattr(case.architecture, "rope_rounded", False)
    return GenuineProof(code, compare(ours, {name: theirs.outputs[name] for name in ours}), rotation, rounded)


def _built(reference: Reference) -> Any:
    from torch import hub

    entry = reference.entry
    local = reference.where != HUB
    where = str(Path(reference.where).resolve()) if local else entry.repo
    # The user has named this code; asking on the terminal whether it is trusted would ask twice.
    options = {"source": "local"} if local else {"trust_repo": True, "skip_validation": True}
    try:
        load: Any = hub.load  # noqa: TID251  # running that code is what --reference asks for
        model = load(where, entry.name, pretrained=False, **options, **entry.arguments)
    except DinoportError:
        raise
    except Exception as error:  # whatever that code raises
        raise CheckpointError(
            f"the code that `reference` names could not be run: {type(error).__name__}: {error}",
            where=str(reference),
            cause="a package that it needs is missing" if isinstance(error, ImportError) else None,
            next_step="install what it needs, or leave `reference` out",
        ) from error
    return model.eval()


def _rotate_alike(model: Any, rotation: tuple[Any, Any], images: Any, case: Comparison) -> float:
    """Give the genuine model the class's own sines and cosines, as the outputs proof does; how far its own are off."""
    sines, cosines = rotation
    rows, columns = (side // case.architecture.cell for side in images.shape[-2:])
    own = model.rope_embed(H=rows, W=columns)
    model.rope_embed.forward = lambda H, W: (sines.double(), cosines.double())  # noqa: N803  # its own names
    return max(float((a - b).abs().max()) for a, b in zip(own, (sines, cosines), strict=True))


def _genuine_outputs(model: Any, images: Any) -> dict[str, Any]:
    """What the genuine model gives, under the names of our outputs."""
    import torch

    if hasattr(model, "forward_features"):  # dinov2, dinov3
        found = model.forward_features(images)
        registers = found.get("x_norm_regtokens", found.get("x_storage_tokens"))
        parts = [found["x_norm_clstoken"][:, None], registers, found["x_norm_patchtokens"]]
        return {"tokens": torch.cat([part for part in parts if part is not None], dim=1)}
    if hasattr(model, "get_intermediate_layers"):  # dino
        return {"tokens": model.get_intermediate_layers(images, 1)[0]}
    return {"pooled": model(images)}  # torchvision's ResNet
