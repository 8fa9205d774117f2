from dinoport.mapping.folding import fold_names


def test_blocks_fold_and_gaps_stay() -> None:
    names = [f"blocks.{i}.norm1.weight" for i in range(12)] + ["cls_token", "blocks.0.a", "blocks.2.a", "blocks.3.a"]
    assert fold_names(names) == ["blocks.{0…11}.norm1.weight", "cls_token", "blocks.{0, 2…3}.a"]


def test_resnet_layers_fold_by_their_first_number() -> None:
    assert fold_names(["layer1.0.bn1.weight", "layer2.0.bn1.weight"]) == ["layer{1…2}.0.bn1.weight"]


def test_a_number_that_is_written_otherwise_is_shown_as_it_is() -> None:
    names = ["blocks.0.a", "blocks.00.a", "blocks.²,a", "blocks.١.a"]
    assert fold_names(names) == names
