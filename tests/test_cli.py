"""The command line: what it prints where, and its exit codes."""

import json
import re
import shlex
from pathlib import Path

import pytest

from dinoport.formats.torch.writer import write_torch_file
from tests import formula, tiny
from tests.command_line import DEMO, EXACT, FILES, HEADS, Run, names
from tests.families.cases import VIT
from tests.writing.stub_tensors import tensor


def test_convert_prints_the_report(run: Run, tmp_path) -> None:
    done = run("convert", DEMO, tmp_path / "out", *HEADS, *EXACT)
    assert done.code == 0
    assert done.err == ""
    assert done.out.startswith("verdict     transported exactly (outputs not shown), assuming heads = 2\n")
    assert "54 tensors found again bit for bit" in done.out
    assert all(len(line) <= 80 or str(tmp_path) in line or str(DEMO) in line for line in done.out.splitlines())
    assert names(tmp_path / "out") == FILES


def test_json_is_one_object_on_stdout_and_nothing_else(run: Run, tmp_path) -> None:
    out = tmp_path / "out"
    converted = run("convert", DEMO, out, *HEADS, *EXACT, "--json")
    verified = run("verify", DEMO, out, *EXACT, "--json")
    inspected = run("inspect", DEMO, *HEADS, "--json")
    planned = run("convert", DEMO, tmp_path / "no", *HEADS, "--dry-run", "--json")
    for done in (converted, verified, inspected, planned):
        assert done.code == 0
        assert done.err == ""
        assert isinstance(json.loads(done.out), dict)
    assert json.loads(converted.out) == json.loads((out / "dinoport.json").read_text())
    assert json.loads(verified.out)["verdict"]["word"] == "transported exactly"
    assert json.loads(inspected.out)["plan"]["model"]["class"] == "ViTModel"
    assert json.loads(planned.out)["verdict"]["word"] == "planned"


def test_a_dry_run_prints_the_plan_and_writes_nothing(run: Run, tmp_path) -> None:
    done = run("convert", DEMO, tmp_path / "out", *HEADS, "--dry-run")
    assert done.code == 0
    assert (
        "  encoder.layer.{0…3} ← blocks.{0…3}\n"
        "    layernorm_before.weight          ← norm1.weight\n"
        "    layernorm_before.bias            ← norm1.bias\n"
        "    attention.attention.query.weight ← attn.qkv.weight rows 0–31 of 96\n"
    ) in done.out
    assert max(map(len, done.out.partition("\nplan ")[2].splitlines())) <= 80
    assert "\ntensors     70 to copy bit for bit, 2 to make, 8 to drop; " in done.out
    assert "\nto make     pooler.dense.weight" in done.out
    assert "\nto drop     head.mlp.{0, 2, 4}.weight" in done.out
    assert names(tmp_path) == set()


@pytest.mark.parametrize("name", ["r.json", "r.html"])
def test_a_dry_run_keeps_the_report_that_was_asked_for(run: Run, tmp_path, name: str) -> None:
    if name == "r.html":
        pytest.importorskip("jinja2")
    done = run("convert", DEMO, tmp_path / "out", *HEADS, "--dry-run", "--report", tmp_path / name)
    assert done.code == 0
    assert f"report      {tmp_path / name}\n" in done.out
    assert names(tmp_path) == {name}
    assert "planned" in (tmp_path / name).read_text(encoding="utf-8").lower()


def test_a_dry_run_foresees_packages_rights_and_another_run(run: Run, tmp_path, monkeypatch) -> None:
    from filelock import FileLock

    words = ("convert", DEMO, tmp_path / "out", *HEADS, "--dry-run")
    with FileLock(tmp_path / ".out.dinoport-lock"):
        done = run(*words)
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith(f"error: another run is writing {tmp_path / 'out'}\n")
    monkeypatch.setattr("dinoport.cli.commands.missing", lambda *names: ["torch", "pillow"])
    warned = " ".join(run(*words).out.split())
    assert "without --verify exact torch, pillow is needed (not installed): pip install torch pillow" in warned
    assert "not installed" not in run(*words, *EXACT).out
    assert names(tmp_path) == set()
    monkeypatch.setattr("os.access", lambda path, mode: False)
    refused = run(*words)
    assert (refused.code, refused.out) == (1, "")
    assert "error: out cannot be written: permission denied\n" in refused.err
    assert "  likely cause: you may not write in this folder\n" in refused.err


@pytest.mark.parametrize(("taken", "options"), [("out", ()), ("out.unproven", ("--keep-unproven",))])
def test_a_dry_run_says_that_the_name_is_taken(run: Run, tmp_path, taken: str, options: tuple[str, ...]) -> None:
    (tmp_path / taken).mkdir()
    planned, done = (run("convert", DEMO, tmp_path / "out", *HEADS, *options, *more) for more in (["--dry-run"], EXACT))
    assert (planned.code, planned.out) == (1, "")
    assert planned.err.startswith(f"error: {tmp_path / taken} exists\n")
    assert planned.err == done.err
    assert run("convert", DEMO, tmp_path / "out", *HEADS, *options, "--dry-run", "--force").code == 0
    assert names(tmp_path) == {taken}


def test_a_dry_run_says_that_the_source_is_inside(run: Run, tmp_path) -> None:
    source = tiny.write(tmp_path / "checkpoint.pth")
    for more in (["--dry-run"], EXACT):
        done = run("convert", source, tmp_path, *HEADS, *more)
        assert (done.code, done.err.startswith(f"error: {tmp_path} holds the source\n")) == (1, True)


@pytest.mark.parametrize("options", [("--image", "no.jpg"), ("--all-sizes",), ("--reference", "nowhere")], ids=str)
def test_a_dry_run_says_that_the_proof_cannot_be_had(run: Run, tmp_path, options: tuple[str, ...]) -> None:
    planned, done = (
        run("convert", DEMO, tmp_path / "out", *HEADS, *EXACT, *options, *more) for more in (["--dry-run"], [])
    )
    assert planned.code == 2
    assert "which --verify exact leaves out" in planned.err
    assert done.err.endswith(planned.err)


def test_a_dry_run_says_that_a_file_is_no_folder(run: Run, tmp_path) -> None:
    (tmp_path / "file").touch()
    for name in ("file/out", "file/a/out"):
        planned, done = (run("convert", DEMO, tmp_path / name, *HEADS, *more) for more in (["--dry-run"], EXACT))
        assert "cannot be written: not a directory" in planned.err
        assert (planned.code, planned.err) == (done.code, done.err)


def test_inspect_says_what_is_inside(run: Run) -> None:
    done = run("inspect", DEMO, *HEADS)
    assert done.code == 0
    assert "holds       teacher: 62 tensors" in done.out
    assert "holds       student: 62 tensors" in done.out
    assert "becomes     DINO ViT (facebookresearch/dino) → ViTModel" in done.out


def test_inspect_exits_with_0_for_whatever_it_can_read_and_says_so(run: Run, tmp_path) -> None:
    (tmp_path / "page.pth").write_text("<!DOCTYPE html><title>Sign in</title>")
    assert run("inspect", tmp_path / "page.pth").code == 1
    for options, converts in (((), False), (HEADS, True)):
        done = run("inspect", DEMO, *options, "--json")
        assert done.code == 0
        assert (json.loads(done.out)["refusal"] is None) == converts
    assert "Exit code 0 says that SOURCE was read." in run("inspect", "--help").out


def test_inspect_says_why_it_cannot_be_converted(run: Run, tmp_path) -> None:
    state = VIT.tensors()
    del state["blocks.0.norm1.weight"]
    write_torch_file(tmp_path / "cut.pth", [tensor(n, formula.tensor(n, shape)) for n, shape in state.items()])
    done = run("inspect", tmp_path / "cut.pth")
    assert done.code == 0
    answer, long = (done.out.index(text) for text in ("cannot be converted as it is:", "holds  "))
    assert answer < long
    assert "blocks.0.norm1.weight is missing" in done.out


def test_what_cannot_be_converted_is_one_message_and_exit_code_1(run: Run, tmp_path) -> None:
    (tmp_path / "page.pth").write_text("<!DOCTYPE html><title>Sign in</title>")
    done = run("convert", tmp_path / "page.pth", tmp_path / "out", *EXACT, "--json")
    assert done.code == 1
    assert done.err.startswith(f"error: {tmp_path / 'page.pth'} is not a checkpoint")
    assert "Traceback" not in done.err
    assert names(tmp_path) == {"page.pth"}


def test_a_key_that_the_file_does_not_have(run: Run, tmp_path) -> None:
    bare = tmp_path / "bare.pth"
    write_torch_file(bare, [tensor(n, formula.tensor(n, shape)) for n, shape in VIT.tensors().items()])
    for source, expected, advice in (
        (DEMO, "one of 'teacher', 'student'", "give one of these, or leave --checkpoint-key out"),
        (bare, "no key: the file is a bare state dict", "leave --checkpoint-key out"),
    ):
        assert run("convert", source, tmp_path / "out", "--checkpoint-key", "ema", *HEADS, *EXACT).err == (
            f"error: {source} has nothing under the key 'ema'\n  expected: {expected}\n"
            f"  found: --checkpoint-key ema\n  try: {advice}\n"
        )


def test_a_key_that_only_a_prefix_has(run: Run, tmp_path) -> None:
    """As LightlySSL writes it: `student_backbone.` and `teacher_backbone.` in one state dict."""
    both = [(f"{role}_backbone.{n}", shape) for role in ("student", "teacher") for n, shape in VIT.tensors().items()]
    source = tmp_path / "dino.ckpt"
    write_torch_file(source, [tensor(name, formula.tensor(name, shape)) for name, shape in both])
    done = run("convert", source, tmp_path / "out", "--checkpoint-key", "student", *HEADS, *EXACT)
    assert done.err == (
        f"error: {source} has nothing under the key 'student'\n"
        "  expected: no key: the file is a bare state dict\n"
        "  found: --checkpoint-key student\n"
        "  try: give --prefix student_backbone. in the place of --checkpoint-key\n"
    )
    assert run("convert", source, tmp_path / "out", "--prefix", "student_backbone.", *HEADS, *EXACT).code == 0


def test_with_json_an_error_is_an_object_on_stdout_too(run: Run, tmp_path) -> None:
    (tmp_path / "page.pth").write_text("<!DOCTYPE html><title>Sign in</title>")
    plain = run("convert", tmp_path / "page.pth", tmp_path / "out", *EXACT)
    done = run("convert", tmp_path / "page.pth", tmp_path / "out", *EXACT, "--json")
    assert (done.code, done.err) == (1, plain.err)
    found = json.loads(done.out)
    assert found.keys() == {"error", "exit_code"}
    assert found["exit_code"] == 1
    error = found["error"]
    assert error["kind"] == "CheckpointError"
    parts = [
        error["what"],
        *(error[part] for part in ("where", "expected", "found", "cause", "did_you_mean", "next_step")),
    ]
    assert all(part is None or part in done.err for part in parts)
    assert sum(part is not None for part in parts) == len(done.err.splitlines())


def test_the_problems_of_a_plan_are_a_list_in_json(run: Run, tmp_path) -> None:
    state = VIT.tensors()
    del state["blocks.0.norm1.weight"]
    write_torch_file(tmp_path / "cut.pth", [tensor(n, formula.tensor(n, shape)) for n, shape in state.items()])
    done = run("convert", tmp_path / "cut.pth", tmp_path / "out", *EXACT, "--json")
    assert json.loads(done.out)["error"]["problems"] == ["blocks.0.norm1.weight is missing"]


@pytest.mark.parametrize("arguments", [("convert", "x"), ("convert", "x", "y", "--dtype", "int8")], ids=str)
def test_with_json_wrong_usage_is_an_object_too(run: Run, arguments: tuple[str, ...]) -> None:
    done = run(*arguments, "--json")
    found = json.loads(done.out)
    assert (done.code, found["exit_code"], found["error"]["kind"]) == (2, 2, "UsageError")
    assert found["error"]["what"] in done.err


def test_an_existing_folder_is_refused_without_force(run: Run, tmp_path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "config.json").write_text('{"model_type": "vit", "architectures": ["ViTModel"]}')
    done = run("convert", DEMO, tmp_path / "out", *HEADS, *EXACT)
    assert (done.code, done.out) == (1, "")
    assert done.err == (
        f"error: {tmp_path / 'out'} exists\n  where: {tmp_path / 'out'}\n  found: a folder\n"
        "  try: choose another name, or replace it with --force\n"
    )
    assert names(tmp_path / "out") == {"config.json"}
    assert run("convert", DEMO, tmp_path / "out", *HEADS, *EXACT, "--force").code == 0
    assert names(tmp_path / "out") == FILES


def test_force_is_not_for_a_folder_of_other_things(run: Run, tmp_path) -> None:
    documents = tmp_path / "Documents"
    (documents / "letters").mkdir(parents=True)
    for name in ("README.md", "config.json", "taxes.ods", "thesis.tex", "todo.txt"):
        (documents / name).write_text("mine")
    done = run("convert", DEMO, documents, *HEADS, *EXACT, "--force")
    assert (done.code, done.out) == (1, "")
    assert done.err == (
        f"error: {documents} holds what neither dinoport nor Transformers wrote, and --force would delete it\n"
        f"  where: {documents}\n"
        "  expected: an empty folder, or the files of a model as they were written and nothing else\n"
        "  found: README.md, config.json, letters/, taxes.ods, thesis.tex, todo.txt\n"
        "  try: choose another name, or move or delete what is in there yourself\n"
    )
    assert names(documents) == {"README.md", "config.json", "letters", "taxes.ods", "thesis.tex", "todo.txt"}


def with_demo(words: str) -> list[str]:
    return [str(DEMO) if word == "DEMO" else word for word in words.split()]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            "--verion",
            "error: --verion is not an option of dinoport\n  did you mean: --version\n  try: dinoport --help\n",
        ),
        ("convert --bogus", "error: --bogus is not an option of dinoport convert\n"),
        ("convert x --bogus=2", "error: --bogus is not an option of dinoport convert\n"),
        ("convert --num-heads -2", "error: SOURCE, FOLDER are missing\n"),
        (
            "completion powershell",
            "error: powershell is not a shell of dinoport completion\n  expected: bash, zsh or fish\n",
        ),
        (
            "convert x -",
            "error: FOLDER is -, which stands for a stream\n  expected: a path: streams are neither read nor written\n"
            "  try: ./- for a file or folder of this name\n",
        ),
        ("inspect -", "error: SOURCE is -, which stands for a stream\n"),
        ("fleet - x", "error: FOLDER is -, which stands for a stream\n"),
        ("nope", "error: nope is not a command of dinoport\n  try: dinoport --help\n"),
        ("convret x", "error: convret is not a command of dinoport\n  did you mean: convert\n  try: dinoport --help\n"),
        ("DEMO", f"error: {DEMO} is not a command of dinoport\n  try: dinoport inspect {DEMO}\n"),
        ("help", "error: help is not a command of dinoport\n  try: dinoport --help\n"),
        ("help verify", "error: help is not a command of dinoport\n  try: dinoport verify --help\n"),
        ("version", "error: version is not a command of dinoport\n  try: dinoport --version\n"),
        (
            "convert x y z",
            "error: z is not an argument of dinoport convert\n"
            "  try: one SOURCE and one FOLDER; for several checkpoints: dinoport fleet OUT SOURCE …\n",
        ),
        (
            "convert",
            "error: SOURCE, FOLDER are missing\n  expected: dinoport convert SOURCE FOLDER [options]\n"
            "  try: dinoport convert --help\n",
        ),
        ("convert x", "error: FOLDER is missing\n  expected: dinoport convert SOURCE FOLDER [options]\n"),
        ("inspect x --frobnicate", "error: --frobnicate is not an option of dinoport inspect\n  try: dinoport"),
        (
            "convert x y --dtpye=float16",
            "error: --dtpye is not an option of dinoport convert\n  did you mean: --dtype\n",
        ),
        ("convert x y --num 2", "error: --num is not an option of dinoport convert\n  did you mean"),
        ("convert x y --heads 5", "error: --heads is not an option of dinoport convert\n  did you mean: --num-heads\n"),
        ("inspect x y", "error: y is not an argument of dinoport inspect\n  try: dinoport inspect --help\n"),
        ("convert x y --dtype", "error: --dtype needs a value\n  expected: dinoport convert SOURCE FOLDER"),
        ("convert x y --force=yes", "error: --force takes no value\n  expected: dinoport convert SOURCE"),
        ("demo --to original", "error: --to is not an option of dinoport demo\n"),
        ("completion bsh", "error: bsh is not a shell of dinoport completion\n  expected: bash, zsh or fish\n"),
        (
            "convert x y --num-heads two",
            "error: --num-heads takes a whole number of heads from 1 to 1024\n  found: 'two'",
        ),
        ("convert x y --to onnx", "error: --to takes one of transformers, timm, original, training\n  found: 'onnx'"),
        (
            "convert x y --verify some",
            "error: --verify takes one of full, exact, none\n  found: 'some'\n  try: --verify full\n",
        ),
        ("verify x y --verify none", "error: --verify takes one of full, exact"),
        ("convert x y --image-size 0", "error: --image-size takes a whole number of pixels from 1 to 4096"),
        ("inspect x --num-heads -2", "error: --num-heads takes a whole number of heads from 1 to 1024\n  found: -2"),
        ("verify x y --layer-norm-eps nan", "error: --layer-norm-eps takes a small positive number"),
        (
            "convert x y --layer-norm-eps 1e300",
            "error: --layer-norm-eps takes a small positive number from 1e-12 to 0.1\n  found: 1e+300",
        ),
        (
            "convert x hf://owner/repo --verify exact",
            "error: hf://owner/repo is an address, and FOLDER is on this machine\n"
            "  expected: a path\n  try: give a folder here; only SOURCE may lie elsewhere\n",
        ),
        ("verify x https://me:pw@host/y?sig=s --verify exact", "error: https://host/y?… is an address, and FOLDER is"),
        ("visualize x y --mass 2", "error: --mass takes a number between 0 and 1"),
        ("visualize x y --size 0", "error: --size takes a whole number of pixels"),
        ("convert x y --pooler mean", "error: --pooler takes one of identity, none"),
        ("convert x y --dtype int8", "error: --dtype takes one of float32, float16, bfloat16"),
        ("convert x y --interpolation area", "error: --interpolation takes one of offset, size"),
        ("convert x y --image-mean a,b", "error: --image-mean takes one number for each channel"),
        ("convert x y --image-std 1,0,1", "error: --image-std takes one number for each channel"),
        (
            "convert x y --image-mean 1,2",
            "error: --image-mean takes one number for each channel, from 0 to 1\n"
            "  expected: three for RGB, such as 0.485,0.456,0.406\n  found: 2 numbers: 1, 2\n",
        ),
        (
            "convert x y --image-mean 123.675,116.28,103.53",
            "error: --image-mean takes one number for each channel, from 0 to 1\n"
            "  expected: three for RGB, such as 0.485,0.456,0.406\n  found: 3 numbers: 123.675, 116.28, 103.53\n"
            "  likely cause: numbers from 0 to 255: divide them by 255\n",
        ),
        (
            "convert x y --num-heads 2 --num-heads 4",
            "error: --num-heads is given twice\n  found: 2 and 4\n  try: give it once\n",
        ),
        ("verify --base a x y --base=b", "error: --base is given twice\n  found: a and b\n"),
        ("fleet out x --memory 16", "error: --memory takes a size from 1 MB to 1000 TB, such as 16GB\n"),
        ("convert x y --max-shard-size big", "error: --max-shard-size takes a size"),
        ("convert x y --max-shard-size 0", "error: --max-shard-size takes a size"),
        (
            "convert x y --report r.pdf",
            "error: --report r.pdf does not end like a report\n"
            "  expected: a name that ends in .json or in .html\n  try: --report report.json\n",
        ),
        (
            "convert x y --report -",
            "error: --report - does not end like a report\n"
            "  expected: a name that ends in .json or in .html\n  try: --json prints the report on stdout\n",
        ),
        ("convert x y --to timm --pooler none", "error: --pooler goes with a conversion to Tran"),
        ("convert x y --ranks 2", "error: --ranks goes with --to training\n  found: --to transformers\n"),
        ("inspect x --checkpoint-key a --prefix b", "error: --checkpoint-key and --prefix both say"),
        ("verify x y --head-name b --verify exact", "error: --head-name says which layer"),
        ("convert x y --image x.png --verify exact", "error: --image is for the outputs, which --verify exact"),
        ("fleet out x --codebase dinvo2", "error: dinvo2 is not a codebase that dinoport knows\n"),
        ("inspect x --codebase dinvo2", "\n  did you mean: --codebase dinov2\n"),
        ("convert x y --class ViTModle", "error: ViTModle is not a class that dinoport knows\n"),
    ],
)
def test_wrong_usage_is_exit_code_2_and_text(run: Run, words: str, message: str) -> None:
    done = run(*with_demo(words))
    assert (done.code, done.out) == (2, "")
    assert message in done.err
    assert "Traceback" not in done.err
    assert ("255" in done.err) == ("255" in message)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("convert DEMO y --num-heads 3", "error: --num-heads 3 does not divide the width of this model\n"),
        ("convert DEMO y --num-heads 2 --image-size 223", "error: --image-size 223 does not fit this model\n"),
        ("convert DEMO y --num-heads 2 --base x", "error: --base goes with an adapter of PEFT's"),
        ("convert DEMO y --num-heads 2 --codebase mae", "error: --codebase mae contradicts "),
        ("convert DEMO y --num-heads 2 --class Dinov2Model", "error: Dinov2Model does not compute this model, a "),
        ("convert DEMO y --num-heads 2 --lora-alpha 3", "error: --lora-alpha is of no use for "),
        (
            "convert DEMO y --num-heads 2 --verify exact --report nowhere/r.json",
            "--report nowhere/r.json lies in a folder t",
        ),
        ("convert DEMO y --num-heads 2 --verify exact --report .", "error: --report . is a folder\n"),
        ("convert DEMO y --to training --num-heads 2 --config none.yaml", "error: none.yaml is not a file\n"),
        ("fleet DEMO x", " is a file, and the first argument of fleet is OUT"),
        ("fleet out --manifest none.jsonl", "error: --manifest none.jsonl cannot be read: No such file or directory\n"),
        ("fleet out none/*.pth", "error: no checkpoint matches the pattern none/*.pth\n"),
    ],
)
def test_what_depends_on_a_file_or_the_machine_is_exit_code_1(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: str, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    done = run(*with_demo(words))
    assert (done.code, done.out) == (1, "")
    assert message in done.err
    assert names(tmp_path) == set()


def test_an_option_may_be_repeated_with_the_same_value(run: Run, tmp_path) -> None:
    assert run("convert", DEMO, tmp_path / "out", *HEADS, *HEADS, "--dry-run", "--dry-run").code == 0


def test_a_name_that_begins_like_an_option(run: Run, tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    tiny.write(tmp_path / "-m.pth")
    assert run("inspect", "-m.pth").err == (
        "error: -m.pth is not an option of dinoport inspect\n  try: ./-m.pth for the file of this name\n"
    )
    for words in (["inspect", "./-m.pth", *HEADS], ["inspect", *HEADS, "--", "-m.pth"]):
        done = run(*words)
        assert done.code == 0
        assert "dinoport convert ./-m.pth FOLDER --num-heads 2" in done.out
    assert run("convert", *HEADS, *EXACT, "--", "-m.pth", "-out").code == 0
    command = shlex.split(json.loads((tmp_path / "-out" / "dinoport.json").read_text())["command"])
    assert command[:4] == ["dinoport", "convert", "./-m.pth", "./-out"]
    assert run(*command[1:], "--force").code == 0


def test_a_name_that_begins_like_a_home_folder(run: Run, tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    tiny.write(tmp_path / "~.pth")
    assert run("convert", "./~.pth", "./~", *HEADS, *EXACT).code == 0
    command = shlex.split(json.loads((tmp_path / "~" / "dinoport.json").read_text())["command"])
    assert run(*command[1:], "--force").code == 0


def test_the_help_of_verify_offers_the_proofs_that_it_takes(run: Run) -> None:
    assert "--verify full|exact  " in run("verify", "--help").out
    assert "none proves nothing" not in run("verify", "--help").out
    assert "--verify full|exact|none" in run("convert", "--help").out


def test_no_arguments_show_the_help(run: Run) -> None:
    done = run()
    assert done.code == 2
    assert re.search(r"convert +Convert SOURCE into FOLDER", done.err)
    assert not re.search(r"\w\.\.\.$", done.err, re.MULTILINE), "a command's help is cut off"


def test_the_version(run: Run) -> None:
    done = run("--version")
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("dinoport ")


def test_what_is_not_equal_is_exit_code_3(run: Run, tmp_path) -> None:
    out = tmp_path / "out"
    assert run("convert", DEMO, out, *HEADS, *EXACT).code == 0
    config = (out / "config.json").read_text().replace('"num_attention_heads": 2', '"num_attention_heads": 4')
    (out / "config.json").write_text(config)
    report = tmp_path / "report.json"
    done = run("verify", DEMO, out, *EXACT, "--report", report)
    assert done.code == 3
    assert done.out.startswith(
        "verdict     not equal, with 1 warning\nbecause     config.json: num_attention_heads is 4, expected 2\n"
    )
    assert json.loads(report.read_text())["verdict"]["word"] == "not equal"


def test_a_damaged_folder_is_exit_code_3_and_an_error_in_json(run: Run, tmp_path) -> None:
    out = tmp_path / "out"
    assert run("convert", DEMO, out, *HEADS, *EXACT).code == 0
    (out / "config.json").unlink()
    done = run("verify", DEMO, out, *EXACT, "--json")
    assert done.code == 3
    assert done.err.startswith(f"error: {out} is damaged, and so not equal to {DEMO}\n")
    assert json.loads(done.out)["error"]["kind"] == "NotProvenError"
    assert json.loads(done.out)["exit_code"] == 3


def test_a_card_that_was_edited_is_a_warning(run: Run, tmp_path) -> None:
    out = tmp_path / "out"
    assert run("convert", DEMO, out, *HEADS, *EXACT).code == 0
    with (out / "README.md").open("a") as card:
        card.write("Trained on mice.\n")
    done = run("verify", DEMO, out, *EXACT)
    assert done.code == 0
    assert done.out.startswith("verdict     transported exactly (outputs not shown), assuming heads = 2 (the\n")
    assert " with 1 warning assuming " in " ".join(done.out.split())
    assert (
        "\nwarning     README.md has another sha256 than dinoport.json says; no model is\n            made of it\n"
    ) in done.out


def test_a_folder_without_its_report_is_verified_with_the_options_of_its_conversion(run: Run, tmp_path) -> None:
    out = tmp_path / "out"
    assert run("convert", DEMO, out, *HEADS, *EXACT).code == 0
    (out / "dinoport.json").unlink()
    done = run("verify", DEMO, out, *EXACT)
    assert done.code == 1
    assert "try: add --num-heads N" in done.err
    assert run("verify", DEMO, out, *EXACT, *HEADS).code == 0
    assert run("verify", DEMO, out, *EXACT, "--num-heads", "4").code == 3


def test_whatever_a_conversion_was_asked_for_can_be_said_again(run: Run, tmp_path) -> None:
    out = tmp_path / "out"
    asked = ("--dtype", "float16", "--image-size", "48", "--pooler", "none", "--image-mean", "0.1,0.2,0.3")
    assert run("convert", DEMO, out, *HEADS, *EXACT, *asked).code == 0
    (out / "dinoport.json").unlink()
    assert run("verify", DEMO, out, *EXACT, *HEADS, *asked).code == 0
    for left_out in range(0, len(asked), 2):
        others = asked[:left_out] + asked[left_out + 2 :]
        assert run("verify", DEMO, out, *EXACT, *HEADS, *others).code == 3, asked[left_out]


def test_inspect_plans_with_the_interpolation_that_was_given(run: Run) -> None:
    done = run("inspect", DEMO, *HEADS, "--interpolation", "size", "--json")
    assert json.loads(done.out)["plan"]["request"] == {"interpolation": "size", "num_heads": 2}
    wrong = run("inspect", DEMO, "--interpolation", "sizes")
    assert wrong.code == 2
    assert "--interpolation takes one of offset, size, size-antialias" in wrong.err


@pytest.mark.usefixtures("miswriting")
def test_a_conversion_that_fails_its_proof_is_exit_code_3(run: Run, tmp_path) -> None:
    """Nothing is published, the figures are kept, the folder on demand."""
    done = run("convert", DEMO, tmp_path / "out", *HEADS, *EXACT, "--json", "--report", tmp_path / "report.json")
    assert done.code == 3
    assert json.loads(done.out)["verdict"]["word"] == "not equal"
    assert done.err.startswith(f"error: {DEMO} was converted, and the result is not equal to it; no folder was written")
    assert json.loads((tmp_path / "report.json").read_text()) == json.loads(done.out)
    assert names(tmp_path) == {"report.json"}
    done = run("convert", DEMO, tmp_path / "out", *HEADS, *EXACT, "--keep-unproven")
    assert done.code == 3
    assert done.out.startswith(
        "verdict     not equal\nbecause     pooler.dense.bias is not what was declared (all 0)\n"
    )
    assert f"where: {tmp_path / 'out.unproven'}" in done.err
    assert names(tmp_path) == {"report.json", "out.unproven"}


def test_a_report_never_replaces_the_source(run: Run, tmp_path) -> None:
    source = tmp_path / "checkpoint.pth"
    source.write_bytes(DEMO.read_bytes())
    done = run("convert", source, tmp_path / "out", *HEADS, *EXACT, "--report", source)
    assert done.code == 1
    assert f"{source} is the source itself" in done.err
    assert source.read_bytes() == DEMO.read_bytes()


def test_a_picture_that_cannot_be_drawn_is_named_as_it_was_given(run: Run, tmp_path) -> None:
    pytest.importorskip("transformers")
    pytest.importorskip("matplotlib")
    done = run("visualize", tmp_path, tmp_path / "none.png")
    assert done.code == 1
    assert done.err.endswith("  found: there is no such file\n  try: give another picture\n")


def test_the_command_of_a_report_makes_the_folder_again(run: Run, tmp_path: Path) -> None:
    out, again = tmp_path / "out", tmp_path / "again"
    options = ("--verify", "none", "--max-shard-size", "100kB", "--allow-nonfinite", "--pooler", "none")
    run("convert", DEMO, out, *HEADS, *options)
    command = json.loads((out / "dinoport.json").read_text())["command"]
    assert shlex.split(command) == [
        "dinoport", "convert", str(DEMO), str(out), "--num-heads", "2", "--pooler", "none",
        "--max-shard-size", "100000", "--allow-nonfinite", "--verify", "none",
    ]  # fmt: skip
    run(*shlex.split(command.replace(str(out), str(again)))[1:])
    assert names(again) == names(out)
    assert len(names(out)) > len(FILES)
    for name in names(out) - {"dinoport.json", "README.md"}:
        assert (again / name).read_bytes() == (out / name).read_bytes()


def test_the_command_of_a_way_back_too(run: Run, tmp_path: Path) -> None:
    run("convert", DEMO, tmp_path / "out", *HEADS, *EXACT)
    run("convert", tmp_path / "out", tmp_path / "back", "--to", "original", *EXACT)
    command = json.loads((tmp_path / "back" / "dinoport.json").read_text())["command"]
    assert command.endswith("back --to original --verify exact")


def test_inspect_says_what_can_be_done_with_a_folder_that_is_converted(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run("convert", DEMO, "my model", *HEADS, *EXACT)
    monkeypatch.setattr("dinoport.shown.calls.missing", lambda *names: [])
    done = run("inspect", "my model")
    assert done.out.partition("\nnext        ")[2].split("\n            ") == [
        "dinoport verify 'my model'",
        "dinoport verify SOURCE 'my model'",
        "dinoport convert 'my model' FOLDER --to timm",
        "dinoport convert 'my model' FOLDER --to original",
        "dinoport convert 'my model' FOLDER --to training\n",
    ]
    for number, command in enumerate(json.loads(run("inspect", "my model", "--json").out)["commands"]):
        filled = {"SOURCE": str(DEMO), "FOLDER": f"out{number}"}
        words = [filled.get(word, word) for word in shlex.split(command)[1:]]
        assert run(*words, *(EXACT if words[2:] else ())).code == 0
    assert json.loads(run("inspect", DEMO, "--json").out)["commands"] == []


def test_why_inspect_refuses_is_wrapped(run: Run) -> None:
    done = run("inspect", DEMO)
    refused = done.out.partition("cannot be converted as it is:\n")[2].partition("\n\nholds")[0]
    refused = refused.replace(str(DEMO), "DEMO")
    assert refused.count("\n") > 5
    assert all(len(line) <= 80 for line in refused.splitlines())


def test_an_inspection_does_not_propose_itself(run: Run, tmp_path) -> None:
    write_torch_file(
        tmp_path / "other.pth",
        [tensor(name, formula.tensor(name, (3, 4))) for name in ("a.weight", "b.weight", "c.weight")],
    )
    assert f"try: dinoport inspect {tmp_path}/other.pth" in run("convert", tmp_path / "other.pth", tmp_path / "x").err
    done = run("inspect", tmp_path / "other.pth")
    assert "cannot be converted as it is:" in done.out
    assert "try: " not in done.out
