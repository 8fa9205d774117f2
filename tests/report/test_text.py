"""The report as text: every line of it, for a conversion that is equal and for one that is not."""

import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest

from dinoport.proofs.pixels import PixelClass, Status
from dinoport.report.proof_lines import ALIKE, pixel_classes_text
from tests.command_line import DEMO
from tests.with_torchvision import INSTALLED

pytest.importorskip("torch")
pytest.importorskip("transformers")


EQUAL = """\
verdict     equal at 224×224 pixels, assuming heads = 2 (--num-heads) and 9
            values as in facebookresearch/dino, with 4 exceptions
except      at 288×288 (4.9e-03: position tables are resampled by another rule)
            at 224×176 (8.1e-03: position tables are resampled by another rule)
            for the crop (at a quarter of all picture sizes it is one pixel off:
            values differ by up to 85 grey levels)
{pictures}assuming    heads = 2 (--num-heads)
            eps = 1e-06, activation = exact gelu, qk scale = head_dim ** -0.5,
            interpolation = bicubic, scale factor with offset 0.1, without
            antialias (as in all DINO models)
            pixel mean = 0.485, 0.456, 0.406, pixel std = 0.229, 0.224, 0.225,
            resize = shorter side to 256, crop = centre 224×224,
            filter = bicubic, antialiased (as in facebookresearch/dino's eval
            transform)

source      {source}
            torch zip file, 1.5 MB; teacher
            prefix 'backbone.' stripped from 54 names

tensors     70 copied bit for bit, 2 made, 8 dropped; 331.5 kB in all
            outside the blocks: 6 tensors, 124.0 kB
            blocks.{{0…3}}: 48 tensors become 64, 203.3 kB
made        pooler.dense.weight, pooler.dense.bias: an identity pooler:
            AutoModel finds no key missing, and pooler_output is the CLS token
dropped     head.mlp.{{0, 2, 4}}.weight, head.mlp.{{0, 2, 4}}.bias,
            head.last_layer.weight_g, head.last_layer.weight_v: a projection
            head of self-distillation, which only training uses

exact       passed: 54 tensors found again bit for bit, written as 70; 54
            checksums of the source hold
loading     passed: ViTModel, transformers VERSION: no key missing, unexpected or
            mismatched
outputs     passed: tokens at 224×224 differ by FIGURE in float64, limit 1e-09;
            FIGURE in float32
            passed: pooled at 224×224 differ by FIGURE in float64, limit 1e-09;
            FIGURE in float32
            embedding, blocks.{{0…3}} differ by FIGURE at most (blocks.N)
            at 288×288 outputs differ by 4.9e-03
            at 224×176 outputs differ by 8.1e-03
pixels      passed: equal (PIL) on a synthetic picture
{more}
folder      demo
            model.safetensors, 339.0 kB, sha256 HASH…
            config.json, 577 bytes, sha256 HASH…
            preprocessor_config.json, 436 bytes, sha256 HASH…
            README.md, 2.2 kB, sha256 HASH…
            dinoport.json, this report

load it     from transformers import AutoImageProcessor, AutoModel
            processor = AutoImageProcessor.from_pretrained("demo")
            model = AutoModel.from_pretrained("demo")
"""

PICTURES = {
    "5": (
        "            for transparent pictures (laid on white, where the original drops\n"
        "            the transparency: up to 255 grey levels)\n"
    ),
    "4": ("            for pictures 1 or 3 pixels high (the processor takes their rows for\n            channels)\n"),
}
"""What else is excepted, by the generation of Transformers; with torchvision, 4 takes no rows for channels."""

MORE = {
    "5": (
        "            then 45 more pictures (29 sizes, which stand for all, and 16 kinds\n"
        "            such as grey or turned): 33 are equal, 6 are cropped one pixel off,\n"
        "            6 are laid on white\n"
    ),
    "4": (
        "            then 45 more pictures (29 sizes, which stand for all, and 16 kinds\n"
        "            such as grey or turned): 37 are equal, 6 are cropped one pixel off,\n"
        "            2 have rows that are taken for channels\n"
    ),
    "torchvision": (
        "            then 45 more pictures (29 sizes, which stand for all, and 16 kinds\n"
        "            such as grey or turned): 10 are equal, 21 differ by one grey level,\n"
        "            2 differ by two grey levels, 6 are cropped one pixel off, 6 are laid\n"
        "            on white\n"
    ),
}
"""What was found on the pictures that stand for all others."""

WITH_TORCHVISION = {
    "with 4 exceptions": "with 5 exceptions",
    "\n            for the crop": (
        "\n            for pixel values (resized by torchvision, they differ by up to two\n"
        "            grey levels at three quarters of all picture sizes)\n            for the crop"
    ),
    "passed: equal (PIL) on a synthetic picture": (
        "passed: one grey level (torchvision) on a synthetic picture:\n"
        "            torchvision rounds otherwise than PIL when it resizes; with its\n"
        "            resize there is no difference"
    ),
}

NOT_EQUAL = """\
verdict     not equal, with 1 warning
because     config.json: num_attention_heads is 4, expected 2
            outputs differ by 4.4e-03, where 1e-09 is allowed
warning     config.json has another sha256 than dinoport.json says; what it
            holds was compared
next        find out with which of the two values the model was trained: the
            weights do not say it
            if it is the source's, convert the source again, into another
            folder; if it is the folder's, give it as an option
            if both look right, open an issue and attach the report
            (--report report.json)
begins      at blocks.0, the first that differs of embedding, blocks.{0…3}:
            7.3e-05 relative in float64
cause       the number of heads: the folder computes with 4, the original with
            2; taken into account, both are equal (FIGURE)
fed by      blocks.{i}.norm1.{p} → encoder.layer.{i}.layernorm_before.{p}
            blocks.{i}.attn.qkv.{p} →
            encoder.layer.{i}.attention.attention.query.{p},
            encoder.layer.{i}.attention.attention.key.{p},
            encoder.layer.{i}.attention.attention.value.{p}
            blocks.{i}.attn.proj.{p} →
            encoder.layer.{i}.attention.output.dense.{p}
            blocks.{i}.norm2.{p} → encoder.layer.{i}.layernorm_after.{p}
            blocks.{i}.mlp.fc1.{p} → encoder.layer.{i}.intermediate.dense.{p}
            blocks.{i}.mlp.fc2.{p} → encoder.layer.{i}.output.dense.{p}
note"""


def without(text: str, *labels: str) -> str:
    """Without the entries that the families word, and test."""
    kept, label = [], ""
    for line in text.splitlines(keepends=True):
        label = line[:12].strip() or (label if line.strip() else "")
        kept += [] if label in labels else [line]
    return "".join(kept)


def rounded(text: str) -> str:
    """Without what depends on the machine: figures of rounding, versions, hashes."""
    text = re.sub(r"\d\.\de-1\d|\d\.\de-0[6-8]|(?<=differ by )0(?= in float64| at most)", "FIGURE", text)
    text = re.sub(r" dinoport convert .* demo --num-heads 2\n", " COMMAND\n", text)
    text = re.sub(r"transformers \d+\.\d+\.\d+", "transformers VERSION", text)
    text = re.sub(r"README.md, [\d.]+ kB", "README.md, SIZE", text)
    text = re.sub(r"sha256 [0-9a-f]{16}…", "sha256 HASH…", text)
    return re.sub(r"at most \(blocks\.\d\)|at most \(embedding\)", "at most (blocks.N)", text)


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("text")
    command = [sys.executable, "-m", "dinoport", "demo", "demo"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    return folder, done.stdout


def test_an_equal_conversion_reads_like_this(demo: tuple[Path, str]) -> None:
    import transformers

    generation = transformers.__version__[0]
    more = MORE["torchvision" if INSTALLED else generation]
    expected = EQUAL.format(source=DEMO, pictures=PICTURES[generation], more=more)
    for equal, one_grey_level in WITH_TORCHVISION.items() if INSTALLED else ():
        assert equal in expected
        expected = expected.replace(equal, one_grey_level)
    assert rounded(without(demo[1], "note", "model")) == rounded(expected)


def test_a_folder_that_is_not_equal_reads_like_this(demo: tuple[Path, str]) -> None:
    folder, _ = demo
    config = json.loads((folder / "demo" / "config.json").read_text())
    (folder / "demo" / "config.json").write_text(json.dumps(config | {"num_attention_heads": 4}))
    command = [sys.executable, "-m", "dinoport", "verify", str(DEMO), "demo"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 3
    assert rounded(done.stdout).startswith(NOT_EQUAL)
    assert "outputs     failed: tokens at 224×224 differ by" in done.stdout
    assert "load it" not in done.stdout
    assert not [line for line in done.stdout.splitlines() if len(line) > 80 and str(DEMO) not in line]


def test_what_was_asked_for_is_said_once(tmp_path: Path) -> None:
    """The number of heads is a setting, which says so itself; what only the folder's files show has a line."""
    command = [sys.executable, "-m", "dinoport", "convert", str(DEMO), "out", "--num-heads=2", "--verify=exact"]
    command += ["--image-mean=0.5,0.5,0.25", "--image-std=0.5,0.5,0.5", "--pooler=none", "--dtype=float16"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    words = " ".join(done.stdout.split())
    for given in ("heads = 2 (--num-heads)", "pixel mean = 0.5, 0.5, 0.25 (--image-mean)", "pixel std = 0.5, 0.5, 0.5"):
        assert given in words.partition(" assuming heads")[2].partition(" source ")[0]
    assert {words.count(f" {name} = ") for name in ("eps", "activation", "resize", "crop")} == {1}
    assert "\nasked       --dtype float16, --pooler none\n\n" in done.stdout


def test_what_only_the_folder_says_is_not_called_asked(tmp_path: Path) -> None:
    convert = ["convert", str(DEMO), "out", "--num-heads=2", "--pooler=none", "--dtype=float16"]
    program = [sys.executable, "-m", "dinoport"]
    exact = "--verify=exact"
    subprocess.run([*program, *convert, exact], cwd=tmp_path, capture_output=True, check=True)
    verify = [*program, "verify", str(DEMO), "out", exact, "--dtype=float16"]
    done = subprocess.run(verify, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "\nassuming    heads = 2 (the folder's dinoport.json says so)\n" in done.stdout
    assert (
        "\nasked       --dtype float16\nclaimed     --pooler none (the folder's dinoport.json says so)\n\n"
    ) in done.stdout
    done = subprocess.run([*verify, "--json"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["claimed"] == ["num_heads", "pooler"]


def test_what_is_assumed_is_the_same_in_the_verdict_and_in_the_model(tmp_path: Path) -> None:
    """How tables are resampled counts where one was: for another size, or baked into the folder."""
    program = [sys.executable, "-m", "dinoport", "convert", str(DEMO), "--num-heads=2", "--verify=exact", "--json"]
    for options, used in ((("out",), False), (("baked", "--image-size=96"), True)):
        done = subprocess.run([*program, *options], cwd=tmp_path, capture_output=True, text=True, check=True)
        report = json.loads(done.stdout)
        settings = [f"{each['name']} = {each['value']} ({each['reason']})" for each in report["model"]["settings"]]
        origins = ("assumed", "given")
        found = [
            setting
            for setting, each in zip(settings, report["model"]["settings"], strict=True)
            if each["used"] and each["origin"] in origins
        ]
        assert found == report["verdict"]["assumptions"]
        assert {each["name"]: each["used"] for each in report["model"]["settings"]}["interpolation"] is used
    done = subprocess.run([*program[:-1], "again"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "\n            not used here: interpolation = bicubic" in done.stdout


def in_terminal(folder: Path, **environment: str) -> str:
    """What the program prints where stdout is a terminal of 80 columns."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "dinoport", "convert", str(DEMO), "out", "--num-heads=2", "--verify=exact"]
    variables = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "80", **environment}
    # Progress goes to stderr, and shows on a machine that is busy enough.
    process = subprocess.Popen(
        [*command, "--force"], cwd=folder, env=variables, stdout=theirs, stderr=subprocess.DEVNULL
    )
    os.close(theirs)
    chunks = []
    while True:
        try:
            chunk = os.read(ours, 65536)
        except OSError:
            break
        if not chunk:
            break
        chunks.append(chunk)
    assert process.wait() == 0
    os.close(ours)
    return b"".join(chunks).decode().replace("\r\n", "\n")


def test_a_terminal_gets_colour_and_the_same_words(tmp_path: Path) -> None:
    coloured, plain = in_terminal(tmp_path), in_terminal(tmp_path, NO_COLOR="1")
    assert re.search(r"\x1b\[33m\S*transported exactly \(outputs not shown\), assuming heads = 2\x1b\[0m\n", coloured)
    assert not re.search(r"\x1b\[[\d;]*3\dm", plain), "NO_COLOR is set"
    words = [re.sub(r"\x1b\[[\d;]*m", "", text) for text in (coloured, plain)]
    assert words[0] == words[1]
    assert words[0].startswith("verdict     transported exactly (outputs not shown), assuming heads = 2\n")
    assert all(len(line) <= 80 or str(DEMO) in line for line in words[0].splitlines())


def test_a_narrow_terminal_gets_the_same_words_in_lines_that_fit(tmp_path: Path) -> None:
    wide, narrow, tiny = (in_terminal(tmp_path, NO_COLOR="1", COLUMNS=columns) for columns in ("200", "60", "1"))
    assert wide.split() == narrow.split() == tiny.split()
    kept = (str(DEMO), "from_pretrained(", "import ")  # what is to be copied
    for text, columns in ((wide, 80), (narrow, 60), (tiny, 40)):
        lines = [line for line in text.splitlines() if not any(each in line for each in kept)]
        assert columns - 10 < max(map(len, lines)) <= columns + (4 if text is tiny else 0)
    assert "\n            qk scale = head_dim ** -0.5" in narrow, "a value stands beside its name"


def test_nothing_is_called_copied_where_the_exact_proof_failed_or_was_not_made(tmp_path: Path) -> None:
    program = [sys.executable, "-m", "dinoport"]
    convert = [*program, "convert", str(DEMO), "out", "--num-heads=2", "--verify=exact"]
    planned = subprocess.run([*convert, "--dry-run"], cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    done = subprocess.run(convert, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    weights = tmp_path / "out" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
    verify = [*program, "verify", str(DEMO), "out", "--verify=exact"]
    failed = subprocess.run(verify, cwd=tmp_path, capture_output=True, text=True, check=False).stdout
    assert failed.startswith("verdict     not equal")
    assert "\ntensors     70 copied bit for bit, 2 made, 8 dropped; " in done
    for text in (planned, failed):
        assert "\ntensors     70 to copy bit for bit, 2 to make, 8 to drop; " in text
        assert "copied bit for bit" not in text


def test_every_result_of_a_picture_has_words() -> None:
    statuses = get_args(Status)
    assert set(ALIKE) == set(statuses)
    classes = tuple(PixelClass(name, "9×9", name, share=None if at else 1.0) for at, name in enumerate(statuses))
    told = pixel_classes_text((*classes, *classes))
    assert told.startswith(f"then {2 * len(statuses)} more pictures (2 sizes, which stand for all, and ")
    assert told.endswith(": " + ", ".join(f"2 {words}" for words in ALIKE.values()))
