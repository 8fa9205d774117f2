"""The config of an OpenMMLab codebase, which its files keep as text in Python's notation: nothing of it is run."""

import math
import re
from ast import literal_eval
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any, NamedTuple

from dinoport.codebases.hyper_parameters import HyperParameters, number
from dinoport.codebases.pixel_statistics import statistics_said
from dinoport.model import Stated
from dinoport.tensor import TensorRef

MAX_TEXT = 100_000
"""Characters of a config that a file holds as text."""

MAX_LITERAL = 250
"""Characters of a number or a list of them."""

IS = r"['\"]?\s*[:=]\s*"
"""What stands between a name and its value, in a call or a dict."""


class ConfigText(NamedTuple):
    """What is read of it: the part that is called the backbone, and heads from anywhere where none is called so.

    `width` is that of the model in the file; `writer` is whose file it is, where that says so.
    """

    where: str
    text: str
    width: int | None
    writer: str

    @property
    def backbone(self) -> str:
        """Nothing where several are: a teacher beside its student."""
        found = {*_parts_of(self.text, "backbone")}
        return found.pop() if len(found) == 1 else ""

    @property
    def heads(self) -> set[int]:
        """Their numbers, or the one that a name of MMPretrain's means for a model of this width."""
        said = self.backbone or self.text
        given = {int(each) for each in re.findall(rf"\bnum_heads{IS}(\d{{1,4}})\b", said)}
        arch = re.search(rf"\barch{IS}['\"]([\w-]{{1,20}})['\"]", said)
        return given or {
            heads for names, (width, heads) in ARCHS.items()
            if arch and arch[1] in names.split() and width == self.width
        }  # fmt: skip

    def stated(self) -> dict[str, Stated]:
        """Heads, eps and statistics, in the file of OpenMMLab's own."""
        where, found = f"{self.where} of {self.writer}", {}
        if not self.writer:
            return {}
        if len(heads := self.heads) == 1:
            named = "num_heads" if "num_heads" in (self.backbone or self.text) else "arch"
            found["num_heads"] = Stated(heads.pop(), f"{named} in {where}")
        norm = _values(_values(self.backbone).get("norm_cfg", ""))
        eps = number("layer_norm_eps", _literal(norm.get("eps", "1e-5")))
        if _literal(norm.get("type", "")) == "LN" and eps is not None:
            found["layer_norm_eps"] = Stated(eps, f"norm_cfg in {where}")
        both = [re.search(rf"['\"]?{name}{IS}(\[[0-9., ]{{5,200}}\])", self.text) for name in ("mean", "std")]
        if all(both):
            mean, std = (_literal(each[1]) for each in both if each)
            found |= statistics_said({"mean": mean, "std": std}, f"mean and std in {where}")
        return found

    def contradictions(self) -> HyperParameters | None:
        """Several numbers of heads, where it does not say which is the backbone's, and what no network here has."""
        own = _values(self.backbone)
        told = ", ".join(f"{name}={own[name]}" for name in ("layer_cfgs", *UNSEEN) if name in own)
        unseen = tuple(f"{name} {each[1]}" for name, value in UNSEEN.items()
                       for each in re.finditer(rf"\b{name}{IS}{value}", told)
                       if name != "qk_scale" or not self._is_usual(_literal(each[1])))  # fmt: skip
        said = ", ".join(f"num_heads {each}" for each in sorted(heads)) if len(heads := self.heads) > 1 else ""
        several = {"num_heads": said} if said else {}
        return HyperParameters(several=several, unseen=unseen, where=self.where) if said or unseen else None

    def _is_usual(self, scale: object) -> bool:
        """Whether this scale of queries and keys is the one that they have without it."""
        if self.width is None or len(self.heads) != 1 or not isinstance(scale, float) or scale <= 0:
            return False
        return math.isclose(scale * scale * self.width, *self.heads)

    def strides(self) -> str | None:
        """Where it has a ResNet that dilates, or strides elsewhere than torchvision's."""
        own = " ".join(_parts_of(self.text, "backbone"))
        for name, usual in USUAL.items():
            found = re.search(rf"\b{name}{IS}([(\[][0-9, ]{{1,40}}[)\]]|['\"]\w+['\"])", own)
            if found and re.findall(r"\w+", found[1]) != usual.split():
                return f"{name} {found[1]} in {self.where}"
        return None

    def colours(self) -> tuple[str, ...]:
        """A word on one by which pictures keep blue in front, as OpenCV reads them."""
        found = re.findall(rf"to_rgb{IS}(True|False)\b", self.text)
        return (f"{self.where} says to_rgb = False: {BLUE_FIRST}",) if found and "True" not in found else ()


def config_text(tree: Mapping[str, Any]) -> ConfigText:
    """That of a file; an empty one where it holds none."""
    meta, state = (found if isinstance(found := tree.get(key), Mapping) else {} for key in ("meta", "state_dict"))
    for key, writer in (("cfg", "mmengine"), ("config", "mmcv")):
        text = meta.get(key)
        if isinstance(text, str) and len(text) <= MAX_TEXT:
            return ConfigText(f"meta.{key}", text, _width(state), writer if f"{writer}_version" in meta else "")
    return ConfigText("meta", "", None, "")


def _width(state: Mapping[str, Any]) -> int | None:
    named = (each for name, each in state.items() if str(name).endswith("cls_token"))
    return next((each.shape[-1] for each in named if isinstance(each, TensorRef) and each.shape), None)


def _values(part: str) -> dict[str, str]:
    """What stands behind each name of a dict, with its brackets or without; not of the dicts inside it."""
    whole = re.fullmatch(r"(?:dict\(|\{)(.*)[)}]", part, re.DOTALL)
    part = whole[1] if whole else part
    found: dict[str, str] = {}
    depth = begin = 0
    for end, each in enumerate(f"{part},"):
        depth += (each in "({[") - (each in ")}]")
        if each == "," and not depth:
            if said := re.match(rf"\s*['\"]?(\w+){IS}", part[begin:end]):
                found[said[1]] = part[begin + said.end() : end].strip()
            begin = end + 1
    return found


def _literal(text: str) -> object:
    """A short value in Python's notation; None for anything else."""
    with suppress(SyntaxError, ValueError, TypeError):
        return literal_eval(text) if len(text) <= MAX_LITERAL else None
    return None


def _parts_of(text: str, name: str) -> Iterator[str]:
    """Each dict of a name, up to where its brackets are closed."""
    begin, depth = -1, 0
    names = {found.end() for found in re.finditer(rf"\b{name}{IS}(?:dict\(|\{{)", text)}
    for place, each in enumerate(text):
        if begin < 0 and place in names:
            begin, depth = place, 1
        depth += (each in "({[") - (each in ")}]")
        if begin >= 0 and not depth:
            yield text[begin:place]
            begin = -1


ARCHS: Mapping[str, tuple[int, int]] = {
    "s small": (768, 8), "b base deit-b deit-base": (768, 12), "l large": (1024, 16), "h huge": (1280, 16),
    "eva-g eva-giant": (1408, 16), "deit-t deit-tiny": (192, 3), "deit-s deit-small dinov2-s dinov2-small": (384, 6),
    "dinov2-g dinov2-giant": (1536, 24), "mocov3-s mocov3-small": (384, 12),
}  # fmt: skip
"""Width and heads of MMPretrain's ViTs by their names (`arch_zoo` of `vision_transformer.py` and `mocov3.py`)."""

UNSEEN: Mapping[str, str] = {
    "act_cfg": r"(?:dict\(|\{)\s*['\"]?type['\"]?\s*[:=]\s*['\"](?!GELU['\"])(\w+)",
    "qk_scale": r"(?!None\b)([^,)\]}\s]+)",
}
"""What a ViT of OpenMMLab may be told to compute, no tensor shows, and no network here does."""

USUAL = {"dilations": "1 1 1 1", "strides": "1 2 2 2", "style": "pytorch"}
"""What MMPretrain's, MMSegmentation's and MMDetection's ResNet has like torchvision's."""

BLUE_FIRST = "this model was given blue, green, red, and image processors give red, green, blue"
