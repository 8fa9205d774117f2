"""Names of classes that a checkpoint keeps besides its weights, under the words that training codes use for them."""

from collections.abc import Iterator, Mapping

from dinoport.formats.torch.stand_ins import Opaque

PLACES = ("", "hyper_parameters", "hparams", "args", "config", "cfg", "meta", "meta.dataset_meta", "dataset_meta")
"""Where settings stand in a checkpoint, as keys joined by dots: Lightning's, mmengine's and what people write."""

NAMES = (
    "id2label", "label2id", "class_names", "classes", "CLASSES", "label_names", "labels", "class_to_idx", "idx_to_class"
)  # fmt: skip


def stored_labels(tree: object, classes: int) -> tuple[Mapping[int, str], str] | None:
    """Names by class index, for exactly so many classes, and where they stand; None without any, or with two kinds."""
    found = dict(_labels(tree, classes))
    first = next(iter(found.values()), None)
    if first is None or any(labels != first for labels in found.values()):
        return None
    return first, next(iter(found))


def _labels(tree: object, classes: int) -> Iterator[tuple[str, dict[int, str]]]:
    from dinoport.codebases.transformers.labels import labels_of

    for place in PLACES:
        node = tree
        for key in place.split(".") if place else ():
            node = _entries(node).get(key)
        for name in NAMES:
            if labels := labels_of(_entries(node).get(name), classes):
                yield f"{place}.{name}".lstrip("."), labels


def _entries(node: object) -> Mapping[object, object]:
    """What an object holds by name: a dict, one of a class of its own, or attributes."""
    if isinstance(node, dict):
        return node
    if not isinstance(node, Opaque):
        return {}
    pairs = [item for item in node.items or () if isinstance(item, tuple) and len(item) == 2]
    state = node.state if isinstance(node.state, dict) else {}
    return {**state, **{key: value for key, value in pairs if isinstance(key, str)}}
