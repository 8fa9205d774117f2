"""What the settings of a model are read from: its tensors, and a layer that becomes its classifier."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from dinoport.codebases.codebase import Evidence, Naming, Reading
from dinoport.finding.heads import Head
from dinoport.mapping.claims import Problem
from dinoport.mapping.decoding import Decoding, decode
from dinoport.mapping.rule import copy


def read(naming: Naming, evidence: Evidence) -> Reading:
    """The settings of a model. What lies besides its tensors is taken as a whole or not at all.

    A config or arguments that the tensors contradict in one value are another model's, or were changed: no other value
    of them is taken.
    """
    reading: Reading = naming.code.read(evidence)
    if not reading.doubts:
        return reading
    own: Reading = naming.code.read(replace(evidence, config=None, arguments={}))
    speakers = dict.fromkeys(
        (evidence.config.name,) if evidence.config else ("the checkpoint's args",) if evidence.arguments else ()
    )
    untaken = tuple(f"the rest of {speaker} was not taken: it describes another model" for speaker in speakers)
    return own._replace(remarks=(*reading.doubts, *untaken, *own.remarks))


def with_head(evidence: Evidence, decoding: Decoding, head: Head) -> tuple[Evidence, Decoding]:
    """A backbone with a linear layer as its classifier."""
    layer = {f"classifier.{leaf}": tensor.renamed(f"classifier.{leaf}") for leaf, tensor in head.tensors.items()}
    own = decode(layer, (copy("classifier.{p}", "classifier.{p}"),))
    whole = replace(decoding, steps={**decoding.steps, **own.steps})
    return replace(evidence, tensors=whole.tensors, head=head.layer), whole


def under_own_names(problems: Sequence[Problem], classifier: str | None) -> list[Problem]:
    own = {f"classifier.{leaf}": f"{classifier}.{leaf}" for leaf in ("weight", "bias")}
    return [problem._replace(name=own.get(problem.name, problem.name)) for problem in problems]
