"""Which rule claims a tensor's name, as its source or as a target; and what to report of a name without a rule."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from dinoport.mapping.rule import Bindings, Rule
from dinoport.tensor import Shape


class Problem(NamedTuple):
    """One tensor that does not fit. Problems of one `what` are folded into one line."""

    name: str
    what: str


class Claim(NamedTuple):
    """A rule that a name fits: as its source, or as its target number `part`."""

    rule: Rule
    bindings: Bindings
    part: int = 0

    @property
    def source(self) -> str | None:
        return self.rule.source.fill(self.bindings) if self.rule.source else None

    def target(self, part: int) -> str | None:
        pattern = self.rule.targets[part]
        return pattern.fill(self.bindings) if pattern else None


def claims_of_source(name: str, rules: Iterable[Rule]) -> list[Claim]:
    found = ((rule, rule.source.match(name)) for rule in rules if rule.source)
    return [Claim(rule, bindings) for rule, bindings in found if bindings is not None]


def claims_of_target(name: str, rules: Iterable[Rule]) -> list[Claim]:
    claims = []
    for rule in rules:
        for part, pattern in enumerate(rule.targets):
            bindings = pattern.match(name) if pattern else None
            if bindings is not None:
                claims.append(Claim(rule, bindings, part))
    return claims


def only_claim(name: str, claims: list[Claim], problems: list[Problem]) -> Claim | None:
    if len(claims) == 1:
        return claims[0]
    problems.append(Problem(name, "is claimed by two rules" if claims else "is not part of this model"))
    return None


def compare_shapes(found: Mapping[str, Shape], expected: Mapping[str, Shape]) -> list[Problem]:
    """What is missing, and what has another shape than the model of these sizes has."""
    missing = [Problem(name, "is missing") for name in expected if name not in found]
    unlike = {name: shape for name, shape in expected.items() if found.get(name, shape) != shape}
    return missing + [Problem(name, f"has shape {found[name]} where {unlike[name]} was expected") for name in unlike]
