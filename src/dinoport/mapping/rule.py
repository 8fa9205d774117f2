"""A rule: one line of a family's table, as data. It knows no tensor and holds no state.

The functions are the words in which tables are written:

    copy("norm.{p}", "layernorm.{p}")
    change("mask_token", "embeddings.mask_token", AddAxis())
    split_rows("blocks.{i}.attn.qkv.{p}", ("….query.{p}", "….key.{p}", "….value.{p}"))
    drop("head.last_layer.{p}", because="the projection head of self-distillation …")
    make("pooler.dense.bias", Zeros((384,)), because="…")
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TypeAlias

from dinoport.mapping.constants import Declared
from dinoport.mapping.operations import Kind, Operation, Rows

Bindings: TypeAlias = Mapping[str, int | str]

_PLACEHOLDER = re.compile(r"\{([a-z])(?:\+(\d))?\}")
_NUMBER = r"(0|[1-9][0-9]{0,5})"
_WORD = r"([A-Za-z_][A-Za-z0-9_]*)"
_REST = r"([A-Za-z0-9_][A-Za-z0-9_.]*)"


@dataclass(frozen=True)
class Pattern:
    """One template: `blocks.{i}.norm{n}.{p}`, matched in full and filled back. Equal templates are equal patterns.

    A placeholder called `p` stands for a parameter's last name (`weight`, `running_mean`), `r` for all the rest of a
    name, dots included; every other one stands for a number, without sign or leading zero. `{s+1}` stands for the
    number s + 1, for codebases that count from one. Both sides of a rule share the placeholders, so a match on either
    side fills the other.
    """

    template: str

    @cached_property
    def _fields(self) -> tuple[tuple[str, int], ...]:
        return tuple((name, int(offset or 0)) for name, offset in _PLACEHOLDER.findall(self.template))

    @cached_property
    def _regex(self) -> re.Pattern[str]:
        literal = _PLACEHOLDER.split(self.template)[::3]
        groups = [{"p": _WORD, "r": _REST}.get(name, _NUMBER) for name, _ in self._fields] + [""]
        return re.compile("".join(re.escape(text) + group for text, group in zip(literal, groups, strict=True)))

    def match(self, name: str) -> Bindings | None:
        """The placeholders' values if the whole `name` fits the template, else None."""
        found = self._regex.fullmatch(name)
        if found is None:
            return None
        bindings: dict[str, int | str] = {}
        for (key, offset), text in zip(self._fields, found.groups(), strict=True):
            value: int | str = text if key in "pr" else int(text) - offset
            if (isinstance(value, int) and value < 0) or bindings.setdefault(key, value) != value:
                return None
        return bindings

    def fill(self, bindings: Bindings) -> str:
        """The name that the template gives for these values: the inverse of `match`."""

        def put(found: re.Match[str]) -> str:
            value = bindings[found[1]]
            return value if isinstance(value, str) else str(value + int(found[2] or 0))

        return _PLACEHOLDER.sub(put, self.template)


@dataclass(frozen=True)
class Rule:
    """Source names on the left, target names on the right, and what happens between.

    `source` is None for a synthesised target; `targets` is empty for a dropped source. A target of None is a part
    of the source that is left out, for `reason`; it returns as zeros. What is dropped returns as the `constant`, or as
    the source that it is an `alias` of, if either is given. `anew` is the reason where a training starts it anew.
    """

    source: Pattern | None
    targets: tuple[Pattern | None, ...]
    operation: Operation
    reason: str = ""
    constant: Declared | None = None
    alias: Pattern | None = None
    anew: str = ""

    @property
    def kind(self) -> Kind:
        if self.source is None:
            return Kind.SYNTHESISED
        return self.operation.kind if self.targets else Kind.DROPPED

    @property
    def names(self) -> tuple[str, ...]:
        """The templates of its targets."""
        return tuple(target.template for target in self.targets if target)

    def under(self, prefix: str) -> Rule:
        """The same rule with `prefix` before every target name."""
        return self.spelled(lambda template: prefix + template)

    def spelled(self, change: Callable[[str], str]) -> Rule:
        """The same rule with every target template changed."""
        targets = tuple(Pattern(change(target.template)) if target else None for target in self.targets)
        return replace(self, targets=targets)

    def renamed(self, change: Callable[[str], str]) -> Rule:
        """The same rule with every template changed."""
        source = Pattern(change(self.source.template)) if self.source else None
        return replace(self.spelled(change), source=source)


def without_bias(rules: Iterable[Rule], of: Sequence[str] = ("",)) -> tuple[Rule, ...]:
    """The same rules, and for layers that have a weight alone `{p}` stands for `weight`: all, or `of` these parts."""
    return tuple(
        rule.renamed(lambda template: template.replace("{p}", "weight"))
        if rule.source and any(part in rule.source.template for part in of)
        else rule
        for rule in rules
    )


def copy(source: str, target: str) -> Rule:
    return change(source, target, Rows())


def change(source: str, target: str, operation: Operation, because: str = "") -> Rule:
    return Rule(Pattern(source), (Pattern(target),), operation, because)


def split_rows(source: str, targets: Sequence[str | None], because: str = "") -> Rule:
    patterns = tuple(Pattern(target) if target else None for target in targets)
    return Rule(Pattern(source), patterns, Rows(len(patterns)), because)


def drop(source: str, because: str, returns: Declared | None = None, anew: str = "") -> Rule:
    return Rule(Pattern(source), (), Rows(), because, returns, anew=anew)


def drop_alias(source: str, of: str) -> Rule:
    """Drop a second name for the tensor `of`."""
    return Rule(Pattern(source), (), Rows(), f"a second name for {of.removesuffix('.{p}')}", alias=Pattern(of))


def make(target: str, constant: Declared, because: str) -> Rule:
    return Rule(None, (Pattern(target),), Rows(), because, constant)
