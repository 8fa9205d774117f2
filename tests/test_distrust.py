"""A folder from a stranger: what it says of itself is a claim, opens nothing, and reaches no library unjudged."""

import hashlib
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dinoport import api
from dinoport.api import convert, verify
from dinoport.cli import program as cli
from dinoport.codebases.transformers import running
from dinoport.codebases.transformers.labels import read_labels
from dinoport.errors import FolderError, SettingError
from dinoport.files.json_file import json_bytes
from dinoport.formats.torch.writer import write_torch_file
from dinoport.networks.preprocessing import IMAGENET_MEAN
from dinoport.pictures import seeing
from dinoport.proofs.verdict import Word
from dinoport.report.as_json import SEAL, seal
from dinoport.report.text import headline, report_lines
from dinoport.request import Request
from tests import formula, tiny
from tests.command_line import DEMO
from tests.writing.stub_tensors import tensor


@pytest.fixture
def made(tmp_path) -> tuple[Path, Path]:
    source = tiny.write(tmp_path / "checkpoint.pth")
    convert(source, tmp_path / "out", tiny.REQUEST, level="exact")
    return source, tmp_path / "out"


def forge(folder: Path, request: dict[str, object] | None = None, **changes: Any) -> None:
    """Change dinoport.json's request and fields, list every file with its hash now, and seal it again."""
    document = json.loads((folder / "dinoport.json").read_text()) | changes
    document["request"] = {**document["request"], **(request or {})}
    contents = {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.name != "dinoport.json"}
    document["files"] = [
        {"name": name, "sha256": hashlib.sha256(content).hexdigest(), "size_bytes": len(content)}
        for name, content in contents.items()
    ]
    (folder / "dinoport.json").write_bytes(json_bytes({**document, SEAL: seal(document)}))


def edit(path: Path, **fields: object) -> None:
    path.write_bytes(json_bytes({**json.loads(path.read_text()), **fields}))


def write_head(path: Path) -> Path:
    shapes = {"linear.weight": (3, tiny.ARCHITECTURE.width), "linear.bias": (3,)}
    write_torch_file(path, [tensor(name, formula.tensor(name, shape)) for name, shape in shapes.items()])
    return path


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("head", "secret"),
        ("head", "http://127.0.0.1:9/head.pth"),
        ("head", "reference:///etc/passwd"),
        ("labels", "secret"),
    ],
)
def test_no_file_that_a_report_names_is_opened(made, tmp_path, monkeypatch, name: str, value: str) -> None:
    source, folder = made
    monkeypatch.chdir(tmp_path)
    Path("secret").write_text("the words of a secret file")
    forge(folder, {name: value})
    monkeypatch.setattr("dinoport.work.prepare.locate_head", lambda *given: pytest.fail("a head was opened"))
    monkeypatch.setattr(
        "dinoport.codebases.transformers.labels.read_labels", lambda *given: pytest.fail("labels were opened")
    )
    with pytest.raises(SettingError) as refused:
        verify(source, folder, level="exact")
    assert str(refused.value) == (
        f"{folder} was made with a file of its own for `{name}`, which has to be given again\n"
        f"  where: dinoport.json: request.{name}\n"
        "  likely cause: a folder may come from a stranger, so no file or address that its report names is opened\n"
        f"  try: add `{name}=FILE`, with the file that the folder was made with"
    )


def test_a_head_and_labels_that_the_verifier_gives_are_read(tmp_path) -> None:
    source, head = tiny.write(tmp_path / "checkpoint.pth"), write_head(tmp_path / "head.pth")
    (tmp_path / "labels.json").write_text('["ant", "bee", "cat"]')
    files = Request(head=head, labels=str(tmp_path / "labels.json"))
    convert(source, tmp_path / "out", replace(files, num_heads=2), level="exact")
    assert not verify(source, tmp_path / "out", files, level="exact").verdict.failed
    with pytest.raises(SettingError, match="a file of its own for `labels`"):
        verify(source, tmp_path / "out", Request(head=head), level="exact")
    convert(source, tmp_path / "bare", Request(num_heads=2), level="exact")  # and which source a head goes with
    with pytest.raises(SettingError, match="try: give the original's checkpoint as SOURCE: a head goes with that"):
        verify(tmp_path / "bare", tmp_path / "out", files, level="exact")


@pytest.mark.parametrize(
    "name", ["adapter_config.json", "modeling_own.py", "processor_config.json", "tokenizer.json", "pytorch_model.bin"]
)
def test_a_file_is_not_excused_by_being_listed(made, name: str) -> None:
    source, folder = made
    (folder / name).write_text("{}")
    forge(folder)
    verdict = verify(source, folder, level="exact").verdict
    assert verdict.failures == (f"{name} is in the folder, and no conversion writes it there",)


def test_weights_that_nothing_reads_are_named_without_a_report_too(made) -> None:
    source, folder = made
    shutil.copy(folder / "model.safetensors", folder / "model-00001-of-00002.safetensors")
    (folder / "dinoport.json").unlink()
    verdict = verify(source, folder, tiny.REQUEST, level="exact").verdict
    assert verdict.failures == ("model-00001-of-00002.safetensors is in the folder, and no conversion writes it there",)


def test_shards_and_their_index_are_what_a_conversion_writes(tmp_path) -> None:
    source = tiny.write(tmp_path / "checkpoint.pth")
    convert(source, tmp_path / "out", tiny.REQUEST, level="exact", max_shard_bytes=2_000)
    assert (tmp_path / "out" / "model.safetensors.index.json").exists()
    assert verify(source, tmp_path / "out", level="exact").verdict.word is Word.TRANSPORTED


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("config.json", {"attn_implementation": "evil-org/kernel"}),
        ("config.json", {"num_hidden_layers": 100_000}),
        ("config.json", {"num_attention_heads": "2"}),
        ("preprocessor_config.json", {"auto_map": {"AutoImageProcessor": "evil.Processor"}}),
        ("adapter_config.json", {"base_model_name_or_path": "evil-org/model"}),
    ],
)
def test_a_config_that_is_not_the_computed_one_never_reaches_transformers(
    made, monkeypatch, name: str, fields: dict[str, object]
) -> None:
    source, folder = made
    (folder / name).touch()
    (folder / name).write_text((folder / name).read_text() or "{}")
    edit(folder / name, **fields)
    forge(folder)
    monkeypatch.setattr(running.ClassRunner, "load", lambda *given: pytest.fail("it was loaded"))
    report = verify(source, folder)
    assert report.verdict.word is Word.NOT_EQUAL
    assert any(name in failure for failure in report.verdict.failures)
    assert f"{folder} was not given to Hugging Face Transformers, as its files are not what a conversion writes" in (
        report.remarks
    )


def test_a_value_of_any_length_is_quoted_in_part(made) -> None:
    source, folder = made
    edit(folder / "config.json", added="x" * 100_000)
    [failure, *_] = verify(source, folder, level="exact").verdict.failures
    assert failure == f'config.json: added is "{"x" * 199} …, in a field that no class knows'


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no named pipes")
@pytest.mark.parametrize("kind", ["a pipe", "a large file"])
def test_what_is_read_is_bounded(made, tmp_path, kind: str) -> None:
    """A pipe would be waited for, and a sparse file read into memory."""
    source, folder = made
    for path in (folder / "preprocessor_config.json", tmp_path / "labels.json"):
        path.unlink(missing_ok=True)
        if kind == "a pipe":
            os.mkfifo(path)
        else:
            with path.open("wb") as file:
                file.truncate(400_000_000)
    if kind == "a pipe":
        (folder / "dinoport.json").unlink()
    failures = verify(source, folder, tiny.REQUEST, level="exact").verdict.failures
    assert "preprocessor_config.json is missing or not a JSON object" in failures
    with pytest.raises(SettingError) as refused:
        read_labels(str(tmp_path / "labels.json"), 3)
    found = "is not a regular file" if kind == "a pipe" else "a file of more than 8388608 bytes"
    assert found in str(refused.value)


def test_a_report_never_replaces_a_file_of_what_was_proven(made) -> None:
    source, folder = made
    config = (folder / "config.json").read_bytes()
    with pytest.raises(FolderError, match=r"config\.json lies inside .*out, and would change what was proven"):
        cli.dispatch(["verify", str(source), str(folder), "--report", str(folder / "config.json")])
    with pytest.raises(FolderError, match="and would change what was proven"):
        cli.dispatch(
            ["convert", str(source), str(folder), "--num-heads=2", "--report", str(folder / "config.json"), "--force"]
        )
    with pytest.raises(FolderError, match="and would change what was proven"):
        cli.dispatch(["demo", str(folder), "--report", str(folder), "--force"])
    assert (folder / "config.json").read_bytes() == config


def said(setting: str) -> str:
    return f"{setting} (the folder's dinoport.json says so)"


@pytest.mark.parametrize("level", ["exact", "full"])
def test_a_consistent_forgery_is_not_believed_silently(made, level: str) -> None:
    """Config, request and seal agree on heads, eps and statistics that are not the original's; tensors are."""
    if level == "full":
        pytest.importorskip("torch")
    source, folder = made
    forged = {"num_heads": 4, "layer_norm_eps": 0.1, "image_mean": [0.1, 0.2, 0.3], "image_std": [0.5, 0.5, 0.5]}
    edit(folder / "config.json", num_attention_heads=4, layer_norm_eps=0.1)
    edit(folder / "preprocessor_config.json", image_mean=forged["image_mean"], image_std=forged["image_std"])
    settings = json.loads((folder / "dinoport.json").read_text())["model"]["settings"]
    reasons = {
        "heads": (4, "--num-heads"),
        "eps": (0.1, "--layer-norm-eps"),
        "pixel mean": ("0.1, 0.2, 0.3", "--image-mean"),
        "pixel std": ("0.5, 0.5, 0.5", "--image-std"),
    }
    for setting in settings:
        if setting["name"] in reasons:
            value, reason = reasons[setting["name"]]
            setting |= {"value": str(value), "origin": "given", "reason": reason}
    model = json.loads((folder / "dinoport.json").read_text())["model"]
    forge(folder, forged, model={**model, "settings": settings})

    report = verify(source, folder, level=level)
    assert not report.verdict.failed, str(report.verdict)
    claims = (
        said("heads = 4"),
        said("eps = 0.1"),
        said("pixel mean = 0.1, 0.2, 0.3"),
        said("pixel std = 0.5, 0.5, 0.5"),
    )
    assert set(claims) < set(report.verdict.assumptions)
    assert all(claim in str(report.verdict) for claim in claims)
    assert all(claim in headline(report.verdict) for claim in claims)
    origins = {setting.name: setting.origin for setting in report.settings}
    assert origins["heads"] == origins["eps"] == "claimed"
    words = " ".join(" ".join(report_lines(report)).split())
    assert all(claim in words for claim in claims)

    honest = verify(source, folder, Request(num_heads=2, layer_norm_eps=1e-6), level="exact").verdict
    assert "config.json: num_attention_heads is 4, expected 2" in honest.failures
    assert "config.json: layer_norm_eps is 0.1, expected 1e-06" in honest.failures


def test_what_the_verifier_gives_is_given(made) -> None:
    source, folder = made
    claimed = verify(source, folder, level="exact")
    assert said("heads = 2") in claimed.verdict.assumptions
    given = verify(source, folder, tiny.REQUEST, level="exact")
    assert not given.verdict.failed
    assert "heads = 2 (--num-heads)" in given.verdict.assumptions
    assert {setting.origin for setting in given.settings if setting.name == "heads"} == {"given"}


def test_a_copy_of_the_model_that_only_the_folder_chose_is_an_assumption(tmp_path) -> None:
    convert(DEMO, tmp_path / "out", Request(num_heads=2, checkpoint_key="student"), level="exact")
    verdict = verify(DEMO, tmp_path / "out", Request(num_heads=2), level="exact").verdict
    assert said("checkpoint key = student") in verdict.assumptions
    ordinary = Request(num_heads=2, image_mean=IMAGENET_MEAN)
    convert(DEMO, tmp_path / "ordinary", ordinary, level="exact")
    assumptions = verify(DEMO, tmp_path / "ordinary", Request(num_heads=2), level="exact").verdict.assumptions
    assert said("pixel mean = 0.485, 0.456, 0.406") in assumptions  # named though it is the ordinary one


@pytest.mark.parametrize(
    ("fields", "found"),
    [
        ({"attn_implementation": "evil-org/kernel"}, 'attn_implementation = "evil-org/kernel"'),
        ({"_attn_implementation": "evil-org/kernel"}, '_attn_implementation = "evil-org/kernel"'),
        ({"kernel_config": {"ViTLayer": "evil-org/kernel"}}, 'kernel_config = {"ViTLayer": "evil-org/kernel"}'),
        ({"auto_map": {"AutoModel": "evil.Model"}}, 'auto_map = {"AutoModel": "evil.Model"}'),
        ({"configuration_files": ["config.4.0.0.json"]}, 'configuration_files = ["config.4.0.0.json"]'),
        ({"transformers_weights": "other.safetensors"}, 'transformers_weights = "other.safetensors"'),
        ({"fusion_config": {"patch_embeddings": True}}, 'fusion_config = {"patch_embeddings": true}'),
        ({"use_kernels": True}, "use_kernels = true"),
        ({"backbone": "resnet50"}, 'backbone = "resnet50"'),
        ({"is_causal": True}, "is_causal = true"),
        ({"a_field_of_tomorrow": "../elsewhere.json"}, 'a_field_of_tomorrow = "../elsewhere.json"'),
        ({"hidden_act": "evil/activation"}, 'hidden_act = "evil/activation"'),
        ({"quantization_config": {"quant_method": "evil"}}, 'quantization_config = {"quant_method": "evil"}'),
        ({"architectures": ["EvilModel"]}, 'a class of another family: ["EvilModel"]'),
        ({"num_hidden_layers": 100_000}, "num_hidden_layers = 100000, with "),
        ({"intermediate_size": 10**9}, "intermediate_size = 1000000000, where no tensor is larger than "),
        ({"num_labels": 10**9}, "num_labels = 1000000000, where no tensor is larger than "),
        ({"image_size": 10**6}, "image_size = 1000000, where no tensor is larger than "),
    ],
)
@pytest.mark.parametrize("command", ["visualize", "convert --to original", "the same, exact"])
def test_a_strangers_config_is_bounded_before_it_is_loaded(
    made, tmp_path, monkeypatch, fields: dict[str, object], found: str, command: str
) -> None:
    from dinoport.proofs.picture import synthetic_picture

    _, folder = made
    edit(folder / "config.json", **fields)
    monkeypatch.setattr(seeing, "_load", lambda *given, **options: pytest.fail("it was loaded"))
    monkeypatch.setattr(running.ClassRunner, "load", lambda *given: pytest.fail("it was loaded"))
    if command != "visualize" and "architectures" in fields:
        return  # what is not a class of the family has no way back at all
    run = {
        "visualize": lambda: seeing.see(folder, synthetic_picture(), 64),
        "convert --to original": lambda: convert(folder, tmp_path / "back", to="original"),
        "the same, exact": lambda: convert(folder, tmp_path / "back", to="original", level="exact"),
    }[command]
    with pytest.raises(SettingError) as refused:
        run()
    larger = command != "visualize" and (", with " in found or "where no tensor" in found)  # not even planned
    refusal = "does not hold the model that its config.json describes" if larger else "is not given to Transformers"
    assert str(refused.value).startswith(f"{folder} {refusal}\n  where: config.json\n")
    assert f"\n  found: {found}" in str(refused.value)


def test_an_adapter_beside_a_model_is_refused(made) -> None:
    from dinoport.proofs.picture import synthetic_picture

    _, folder = made
    (folder / "adapter_config.json").write_text("{}")
    with pytest.raises(SettingError, match=r"found: adapter_config\.json beside it"):
        seeing.see(folder, synthetic_picture(), 64)
    with pytest.raises(SettingError, match=r"found: adapter_config\.json beside it"):
        convert(folder, folder.parent / "back", to="original", level="exact")


@pytest.mark.parametrize(
    "fields",
    [{"auto_map": {"AutoImageProcessor": "evil.Processor"}}, {"image_processor_type": "EvilProcessor"}],
    ids=str,
)
def test_a_strangers_processor_is_refused(made, tmp_path, fields: dict[str, object]) -> None:
    from dinoport.proofs.picture import synthetic_picture

    _, folder = made
    edit(folder / "preprocessor_config.json", **fields)
    [name] = fields
    for run in (
        lambda: seeing.see(folder, synthetic_picture(), 64),
        lambda: convert(folder, tmp_path / "back", to="original"),
    ):
        with pytest.raises(SettingError) as refused:
            run()
        assert str(refused.value) == (
            f"{folder} is not given to Transformers\n"
            "  where: preprocessor_config.json\n"
            "  expected: a class of the DINO family, as large as its weights, that needs nothing from elsewhere\n"
            f"  found: {name} = {json.dumps(fields[name])}\n"
            "  likely cause: a folder that another program made, or a stranger's\n"
            "  try: convert the original again: `dinoport.convert(SOURCE, FOLDER)`"
        )
    assert not (tmp_path / "back").exists()


def test_transformers_is_given_what_is_known_and_nothing_else(made, monkeypatch) -> None:
    """A harmless field, and one that says nothing to anybody, stay in the stranger's folder."""
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    source, folder = made
    edit(
        folder / "config.json",
        initializer_range=0.5,
        notes="mine",
        transformers_version="9.9.9",
        attn_implementation="eager",
    )
    given: list[Path] = []
    own = running.ClassRunner.load

    def load(runner: Any, *rest: Any) -> Any:
        known = runner.folder
        given.append(known)
        config = json.loads((known / "config.json").read_text())
        assert not config.keys() & {
            "initializer_range",
            "notes",
            "transformers_version",
            "attn_implementation",
            "dinoport",
        }
        assert {path.name for path in known.iterdir()} == {
            "config.json",
            "model.safetensors",
            "preprocessor_config.json",
        }
        return own(runner, *rest)

    monkeypatch.setattr(running.ClassRunner, "load", load)
    verdict = verify(source, folder, tiny.REQUEST).verdict
    assert not verdict.failed, str(verdict)
    assert 'config.json: notes is "mine", and moves no output' in verdict.warnings
    assert [known.exists() for known in given] == [False]
    assert given[0] != folder


def test_attention_is_pytorchs_own_whatever_the_config_asks_for(made) -> None:
    pytest.importorskip("torch")
    from dinoport.codebases.transformers.running import ClassRunner, attention_for

    _, folder = made
    edit(folder / "config.json", attn_implementation="eager", _attn_implementation="eager")
    runner = ClassRunner(folder, "ViTModel")
    assert runner.load().passed
    assert runner.model.config._attn_implementation == "sdpa"
    assert attention_for("ResNetModel") == attention_for("DINOv3ConvNextModel") == {}


@pytest.mark.parametrize("field", ["attn_implementation", "kernel_config", "auto_map", "quantization_config", "mine"])
def test_what_a_strangers_config_asks_for_is_no_part_of_another_folder(made, tmp_path: Path, field: str) -> None:
    _, folder = made
    edit(folder / "config.json", **{field: {"AutoModel": "evil.Model"}})
    with pytest.raises(SettingError, match=f"found: {field} = "):
        convert(folder, tmp_path / "half", dtype="float16", level="exact")
    assert not (tmp_path / "half").exists()


def test_a_value_that_was_assumed_can_be_confirmed(tmp_path: Path) -> None:
    convert(DEMO, tmp_path / "out", Request(num_heads=2), level="exact")
    again = verify(DEMO, tmp_path / "out", Request(num_heads=2, layer_norm_eps=1e-6), level="exact")
    assert again.verdict.word is Word.TRANSPORTED, str(again.verdict)
    assert "eps = 1e-06 (--layer-norm-eps)" in again.verdict.assumptions
    other = verify(DEMO, tmp_path / "out", Request(num_heads=2, layer_norm_eps=1e-5), level="exact")
    assert other.verdict.word is Word.NOT_EQUAL


def test_a_value_that_was_given_is_named_in_the_verdict(tmp_path: Path) -> None:
    verdict = convert(DEMO, tmp_path / "out", Request(num_heads=4), level="exact").verdict
    assert "heads = 4 (--num-heads)" in verdict.assumptions


@pytest.mark.parametrize(
    ("fields", "found"),
    [
        ({"hidden_size": 65_536}, "hidden_size = 65536, where no tensor is larger than 12"),
        ({"num_hidden_layers": 999}, "num_hidden_layers = 999, with 24 tensors"),
    ],
)
def test_a_config_of_a_larger_model_is_no_way_back(made, tmp_path, fields: dict[str, object], found: str) -> None:
    """Whether or not Transformers would load it: sizes that no tensor has would be made up, and searched for."""
    _, folder = made
    edit(folder / "config.json", **fields)
    with pytest.raises(SettingError) as refused:
        convert(folder, tmp_path / "back", to="original", level="exact")
    with pytest.raises(SettingError) as unplanned:
        api.plan(folder, to="original")
    assert str(unplanned.value) == str(refused.value) == api.inspect(folder).refusal
    assert str(refused.value) == (
        f"{folder} does not hold the model that its config.json describes\n"
        "  where: config.json\n"
        "  expected: a model as large as its weights\n"
        f"  found: {found}\n"
        "  likely cause: a config of another model, or a folder that was made to mislead\n"
        "  try: fetch the folder again"
    )
    assert not (tmp_path / "back").exists()
