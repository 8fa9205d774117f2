"""Transformers as a source: which model a folder holds, by its config.json, and by whose settings."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePath

from dinoport.codebases.attribution import Told, tell
from dinoport.codebases.catalogue import UNTOLD, naming_named, naming_of, relatives
from dinoport.codebases.clues import Clues
from dinoport.codebases.codebase import Evidence, Naming, Reading
from dinoport.codebases.record import classifier_in, losses, made_with, record_of, unlike_original
from dinoport.codebases.refusal import refusal
from dinoport.codebases.relative import Whole
from dinoport.codebases.stranger_refusals import refuse_kind, refuse_stranger
from dinoport.codebases.transformers.class_fields import (
    CLASS_OF_TYPE,
    FIELDS,
    IDENTITY,
    NOTHING,
    POOLER_FIELDS,
    PRECISION,
    SHAPES,
    classifies,
)
from dinoport.codebases.transformers.config_fields import compare_config, filled
from dinoport.codebases.transformers.forms import CLASSES, WITHOUT_NORM, class_name_of, table_of, target_of
from dinoport.codebases.transformers.poolers import without_own_pooler
from dinoport.codebases.transformers.processor import transform_of
from dinoport.codebases.transformers.signs import PATCHES, ROTARY_PATCHES
from dinoport.codebases.transformers.stated_sizes import refuse_larger
from dinoport.codebases.transformers.told_class import refuse_absent
from dinoport.errors import PlanError, SettingError, UnknownModelError
from dinoport.formats.checkpoint import Checkpoint
from dinoport.mapping.claims import Problem
from dinoport.mapping.decoding import Decoding, decode
from dinoport.mapping.folding import fold_names
from dinoport.mapping.rule import Rule, drop
from dinoport.model import Family, Model, Wishes
from dinoport.networks.network import Classifier
from dinoport.networks.rotary_vit.rope import MAX_THETA
from dinoport.request import Request
from dinoport.shown.text import value_text, with_article
from dinoport.tensor import TensorRef, dtype_name, shape_text

BEYOND = "no part of the features"

NORMLESS = "a class of layers without the norm behind the last one, which every class that is read here has"

HALVES = ("float16", "bfloat16")


def read_folder(checkpoint: Checkpoint, request: Request, published: str | None, *, weigh_heads: bool) -> Model:
    """The model that a folder holds. What config.json knows and no tensor holds (heads, eps) is taken from it.

    `published` is the family of the published model that it is beyond doubt. Where another class or target is asked
    for, what the folder's class holds beyond features is left aside. Raises UnknownModelError for a class that is not
    read here, PlanError for tensors that do not fit.
    """
    where, config, tensors = checkpoint.where, checkpoint.config or {}, checkpoint.tensors
    name = class_name_of(config)
    if name not in CLASSES:
        raise _unread(where, name, config, tensors)
    usual, rules = table_of(where, config, tensors)
    refuse_larger(where, config, tensors)
    rules, poolers = without_own_pooler(config, tensors, rules)
    told = _whose(where, config, tensors, usual, rules, published, request.codebase)
    code = told.naming.code
    features = request.class_name not in (None, name) or request.to in ("timm", "training")
    whole: Whole | None = getattr(code, "wholes", {}).get(name) if features else None
    beyond = [rule for rule in rules if whole and rule.source and rule.source.template.startswith(whole.names)]
    drops = [drop(own, because=BEYOND) for rule in beyond for own in rule.names]
    decoding = decode(tensors, [rule for rule in rules if rule not in beyond], [*drops, *poolers])
    if problems := (*decoding.problems, *_more_than_declared(decoding)):
        refuse_stranger(where, None, {name: tensor.shape for name, tensor in tensors.items()})
        raise refusal(where, code.FAMILY, None, problems)
    wishes, classifier = _wishes(config, name), _classifier(config, name)
    said = transform_of(checkpoint.processor, config) if checkpoint.processor is not None else None
    transform, untaken = (None, (said,)) if isinstance(said, str) else (said, ())
    evidence = Evidence(
        where,
        decoding.tensors,
        wishes=wishes,
        classifier=classifier,
        weigh_heads=weigh_heads,
        preprocessing=transform,
    )
    reading = _read(name, told.naming, usual, evidence)
    if reading.problems:
        refuse_stranger(where, None, {name: tensor.shape for name, tensor in tensors.items()})
        raise refusal(where, code.FAMILY, None, reading.problems)
    record = record_of(config)
    unlike = unlike_original(reading.architecture, record, *made_with(checkpoint, request))
    own = reading.preprocessing or code.FAMILY.preprocessing
    return Model(
        where=where,
        title=name,
        family=code.FAMILY,
        architecture=reading.architecture,
        decoding=decoding,
        settings=(*((told.setting,) if told.setting else ()), *reading.settings),
        preprocessing=own.as_said(transform, ours=bool(record)) if transform else own,
        classifier=classifier,
        labels=_labels(config, reading.architecture.classifier),
        record=record,
        remarks=(
            *checkpoint.remarks,
            *reading.remarks,
            *_zeroed(decoding),
            *unlike,
            *losses(config),
            *untaken,
            *_cut(config, name),
        ),
        heads=reading.heads,
        warnings=(*_rounded(config, tensors), *reading.warnings),
    )


def _read(name: str, naming: Naming, usual: str, evidence: Evidence) -> Reading:
    """The settings of a model of the class `name`. Raises PlanError or UnknownModelError where the tensors do not fit.

    `usual` is the family of the class's own original.
    """
    family = naming.code.FAMILY
    try:
        reading: Reading = naming.code.read(evidence)
    except PlanError as error:
        if naming.family == usual or _is_damaged(usual, evidence):
            raise
        raise _of_another_network(evidence.where, name, family) from error
    if reading.architecture.network.name != CLASSES[name].network:
        raise _of_another_network(evidence.where, name, family)
    return reading


def _is_damaged(family: str, evidence: Evidence) -> bool:
    """Whether the tensors are not those of the class's own original either."""
    try:
        return bool(naming_named(family).code.read(evidence).problems)
    except PlanError:
        return True


def _unread(where: str, name: str, config: Mapping[str, object], tensors: Mapping[str, TensorRef]) -> UnknownModelError:
    """What is wrong with a class that is not read here. Raises another DinoportError where more is known of it."""
    refuse_absent(where, name, tensors)
    refuse_kind(where, config.get("model_type"))
    return UnknownModelError(
        f"{where} holds a {name or 'model without a class'}, which dinoport does not read",
        where="config.json: architectures",
        expected=", ".join(CLASSES),
        found=name or "no architectures and no known model_type",
        cause=NORMLESS if name in WITHOUT_NORM else None,
        next_step=("give a folder that holds one of these classes", *_vouching(config, tensors)),
    )


def _vouching(config: Mapping[str, object], tensors: Mapping[str, TensorRef]) -> Iterator[str]:
    """What takes a class of the user's own under the names of one that is read here: it may compute something else."""
    if str(config.get("model_type")) in CLASS_OF_TYPE and (PATCHES in tensors or ROTARY_PATCHES in tensors):
        yield "if it computes what one of them does, add `prefix='.'`"


def _of_another_network(where: str, class_name: str, family: Family) -> UnknownModelError:
    return UnknownModelError(
        f"{where} says that its {class_name} came from {with_article(family.title)}, which is another network",
        where="config.json: dinoport.family",
        next_step="remove the field dinoport from config.json",
    )


def _whose(
    where: str,
    config: Mapping[str, object],
    tensors: Mapping[str, TensorRef],
    usual: str,
    rules: Sequence[Rule],
    published: str | None,
    asked: str | None,
) -> Told:
    """Whose the model is: what a folder of ours records, else what its names, its table and its own name tell."""
    recorded, naming = naming_of(str(record_of(config).get("family"))), naming_named(usual)
    if recorded is not None and asked in (None, recorded.family):
        return Told(next((each for each in relatives(usual) if each.family == recorded.family), recorded))
    if recorded is not None and recorded.family not in UNTOLD.values():
        raise SettingError(
            f"{where} came from {with_article(recorded.code.FAMILY.title)}, as it says itself",
            where="config.json: dinoport.family",
            found=f"`codebase={asked}`",
            next_step="leave `codebase` out",
        )
    canonical = decode(tensors, rules).tensors
    return tell(where, naming, Clues(canonical, file_name=PurePath(where).name, published=published), asked)


WITHOUT = {"num_register_tokens": 0}
"""What the config of a class that has no such field would say in one that has: `Dinov2WithRegistersModel` holds models
without registers too."""


def refuse_unlike(where: str, config: Mapping[str, object], model: Model) -> None:
    """Raise SettingError for a config.json by which its class computes something else than `model`.

    The names of another codebase have no place for such a value, and its own code computes without it.
    """
    pooler = bool(model.decoding.made)
    code, decoder = CLASSES[class_name_of(config)].code, getattr(model.architecture, "decoder", None)
    beyond: tuple[str, ...] = () if decoder else getattr(code, "BESIDE_FEATURES", ())
    ours = target_of(model, Request(pooler="identity" if pooler else "none"), model.labels).config
    idle = (name for name, field in FIELDS[class_name_of(config)].items() if field.role == NOTHING)
    apart = (*IDENTITY, *PRECISION, *idle, *(() if pooler else POOLER_FIELDS))
    findings = [
        finding
        for finding in compare_config(class_name_of(config), WITHOUT | dict(ours), config)
        if finding.effect == "outputs" and finding.field not in apart and not finding.field.startswith(beyond)
    ]
    if findings:
        raise SettingError(
            f"the config.json of {where} asks for what {with_article(model.family.title)} does not compute",
            where="config.json",
            expected=", ".join(f"{each.field} = {value_text(each.ours)}" for each in findings),
            found=", ".join(f"{each.field} = {value_text(each.theirs)}" for each in findings),
            cause="a config of another model, or one that was changed",
            next_step="give the folder as it was converted or published",
        )


def _more_than_declared(decoding: Decoding) -> Iterator[Problem]:
    """Tensors of a part that config.json says the model has not: they hold more than the class would make up."""
    for rule, tensor in decoding.made:
        if rule.constant and rule.constant.shape != tensor.shape:
            expected, found = shape_text(rule.constant.shape), shape_text(tensor.shape)
            yield Problem(tensor.name, f"has shape {found}, where config.json says {expected}")


def _wishes(config: Mapping[str, object], class_name: str) -> Wishes:
    """What config.json says, or the class where it leaves a field out."""
    fields = FIELDS[class_name]
    code = CLASSES[class_name].code
    heads, eps, theta = (
        config.get(name, fields[name].default if name in fields else None)
        for name in ("num_attention_heads", "layer_norm_eps", "rope_theta")
    )
    return Wishes(
        **(code.wishes(config) if hasattr(code, "wishes") else {}),
        num_heads=heads if type(heads) is int else None,
        rope_theta=float(theta) if isinstance(theta, (int, float)) and 0 < theta < MAX_THETA else None,
        layer_norm_eps=float(eps) if isinstance(eps, (int, float)) and 0 < eps < 1 else None,
        said_by="config.json",
    )


def _classifier(config: Mapping[str, object], name: str) -> str | None:
    """The name that the original keeps its classifier under: ours to know from the field that we wrote."""
    if not classifies(name):
        return None
    usual: str = getattr(CLASSES[name].code, "OWN_CLASSIFIER", "linear_head")
    return classifier_in(record_of(config)) or usual


def _labels(config: Mapping[str, object], classifier: Classifier | None) -> dict[int, str] | None:
    """The names of a classifier's classes, where a config has one for each: not Transformers' own LABEL_0, LABEL_1 …"""
    found = config.get("id2label")
    if not isinstance(found, dict):
        return None
    indices = {index for index in found if str(index).isdecimal() and len(str(index)) < 10}
    labels = {int(index): found[index] for index in indices if isinstance(found[index], str)}
    made_up = all(name == f"LABEL_{index}" for index, name in labels.items())
    return None if made_up or sorted(labels) != [*range(classifier.classes if classifier else 0)] else labels


def _zeroed(decoding: Decoding) -> Iterator[str]:
    """What is taken as zeros, because the folder has no place for it."""
    for rule in decoding.rules:
        parts = [part for part, target in enumerate(rule.targets, start=1) if target is None]
        names = [name for name in decoding.steps if rule.source and rule.source.match(name)]
        if parts and names:
            what = f"part {parts[0]} of {len(rule.targets)} of {' '.join(fold_names(names))}"
            yield f"{what} returns as zeros: {rule.reason}"


def _cut(config: Mapping[str, object], class_name: str) -> Iterator[str]:
    """A word on a size of pictures that patches do not fill: the rest of each picture is not looked at."""
    size, seen = config.get("image_size"), filled(config).get("image_size")
    field = FIELDS[class_name].get("image_size")
    if field is not None and field.role == SHAPES and seen not in (None, size):
        yield f"config.json says pictures of {size} pixels, of which the patches fill {seen}: that is what is written"


def _rounded(config: Mapping[str, object], tensors: Mapping[str, TensorRef]) -> Iterator[str]:
    """A word on weights that hold more than the config's dtype, which Transformers 5 loads in that dtype."""
    said = next((str(config[name]) for name in PRECISION if config.get(name)), "")
    held = {dtype_name(tensor.dtype) for tensor in tensors.values() if tensor.is_float}
    if said in HALVES and (wider := held - {*HALVES, "float8_e4m3fn", "float8_e5m2"}):
        weights = " and ".join(sorted(wider))
        yield f"config.json says {said}: Transformers 5 rounds the {weights} weights to it; here they stay as stored"
