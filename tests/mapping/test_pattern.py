import pytest

from dinoport.mapping.rule import Pattern


@pytest.mark.parametrize(
    ("template", "name", "bindings"),
    [
        ("norm.{p}", "norm.weight", {"p": "weight"}),
        ("blocks.{i}.norm{n}.{p}", "blocks.11.norm2.bias", {"i": 11, "n": 2, "p": "bias"}),
        ("layer{s+1}.{b}.conv{k+1}.weight", "layer1.0.conv3.weight", {"s": 0, "b": 0, "k": 2}),
        ("a.{i}.b.{i}", "a.3.b.3", {"i": 3}),
        ("bn1.{p}", "bn1.num_batches_tracked", {"p": "num_batches_tracked"}),
    ],
)
def test_a_match_fills_back_to_the_name(template: str, name: str, bindings: dict[str, object]) -> None:
    assert Pattern(template).match(name) == bindings
    assert Pattern(template).fill(bindings) == name  # type: ignore[arg-type]  # the values of a parameter set


@pytest.mark.parametrize(
    ("template", "name"),
    [
        ("norm.{p}", "norm.weight.extra"),
        ("norm.{p}", "xnorm.weight"),
        ("norm.{p}", "normXweight"),
        ("blocks.{i}.a", "blocks.01.a"),
        ("blocks.{i}.a", "blocks.-1.a"),
        ("blocks.{i}.a", "blocks.٣.a"),
        ("layer{s+1}.a", "layer0.a"),
        ("a.{i}.b.{i}", "a.3.b.4"),
        ("norm.{p}", "norm.0weight"),
        ("norm.{p}", "norm.weight\n"),
    ],
)
def test_only_the_whole_name_matches(template: str, name: str) -> None:
    assert Pattern(template).match(name) is None
