"""A relative of DINO as data: another's models under the names of a network that is known, and what differs in them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from dinoport.codebases.catalogue import naming_named
from dinoport.codebases.clues import Clues, Signs
from dinoport.codebases.codebase import Arranged, Evidence, Facts, HubEntry, Reading, as_they_are, canonical_rules
from dinoport.mapping.rule import Rule
from dinoport.model import Family
from dinoport.networks.network import Architecture
from dinoport.tensor import Shape


class Whole(NamedTuple):
    """What a class holds beside what features pass through: beginnings of `names` of tensors, and `words` for it."""

    names: tuple[str, ...]
    words: str


@dataclass(frozen=True)
class Relative:
    """One relative, and a sentence `about` it. `FAMILY` is named as in the module of any other codebase.

    `like` is the family whose names it has, `facts` what no tensor shows. `sizes` are what its authors publish,
    by name: width, depth, heads and patch size. `copies` are its copies of one model, the one that its authors
    evaluate first, by the keys that they lie under, and `why` says so. `written` gives a table of its own, where its
    names are not the other family's: it is asked with canonical or own names and what the classifier is called.
    `arranged` gives files of several layouts one. `always_told` is a sign that no file of its lacks, in words. `wholes`
    are classes that hold more than features pass through. `contradicts` gives what of a file no model of its has,
    `alike` another model with the very tensors, which no class here computes.
    """

    FAMILY: Family
    like: str
    facts: Facts
    signs: Signs
    copies: tuple[str, ...] = ()
    why: str = ""
    remark: str = ""
    about: str = ""
    always_told: str = ""
    alike: Callable[[Clues], str | None] = lambda clues: None
    contradicts: Callable[[Clues], str | None] = lambda clues: None
    wholes: Mapping[str, Whole] = field(default_factory=dict)
    sizes: Mapping[str, tuple[int, int, int, int]] = field(default_factory=dict)
    written: Callable[[Mapping[str, Shape], str | None], tuple[Rule, ...]] = canonical_rules
    arranged: Arranged = as_they_are

    def under(self, family: str) -> Relative:
        """The same for files with another family's names, where no table of its own says how they are read."""
        return self if self.written is not canonical_rules or self.like == family else replace(self, like=family)

    def hub_entry(self, architecture: Architecture, image_size: int) -> HubEntry | None:
        """That of the family whose values it is given, where its codebase is unknown; a relative has none."""
        like = naming_named(self.like).code if self.FAMILY.values else None
        found: HubEntry | None = like and like.hub_entry(architecture, image_size)
        return found

    def read(self, evidence: Evidence) -> Reading:
        """As the family whose names it has, with its own facts."""
        facts = replace(self.facts, preprocessing=self.FAMILY.preprocessing)
        reading: Reading = naming_named(self.like).code.read(replace(evidence, facts=facts))
        return reading._replace(remarks=(*reading.remarks, self.remark)) if self.remark else reading
