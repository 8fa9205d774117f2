"""The card that is published: the whole verdict, a user's own words, and what is known of the files."""

import re
from pathlib import Path

import pytest
import yaml

from dinoport import api
from dinoport.errors import SettingError
from dinoport.writing.published_card import published_card
from tests import tiny
from tests.command_line import Run
from tests.publishing.conftest import contents
from tests.publishing.server import ROUTES
from tests.publishing.store import Hub


def test_the_card_says_the_whole_verdict_in_one_line_and_loads_the_repository(hub: Hub, proven: Path) -> None:
    api.publish(proven, "owner/model")
    card = contents(hub)["README.md"].decode()
    found = re.search(r"^\*\*Verdict: (.*)\.\*\*", card, re.MULTILINE)
    assert found is not None
    assert found[1].startswith("transported exactly (outputs not shown), assuming heads = 2 (--num-heads), eps = 1e-06")
    assert found[1].endswith("filter = bicubic, antialiased (as in facebookresearch/dino's eval transform)")
    assert "\n# owner/model\n" in card
    assert card.count('from_pretrained("owner/model")') == 2
    assert "dinoport verify hf://owner/model " in card
    assert "my-model" not in card


OWN = """---
license: mit
tags: [histology]
datasets:
- lab/slides
---

# Slides

Trained on slides.
"""


def test_a_users_own_card_comes_first(hub: Hub, proven: Path, tmp_path: Path) -> None:
    (tmp_path / "card.md").write_text(OWN)
    api.publish(proven, "owner/model", card=tmp_path / "card.md")
    card = contents(hub)["README.md"].decode()
    front = "library_name: transformers\npipeline_tag: image-feature-extraction\ntags:\n- histology\n- dino\n"
    assert card.startswith(f"---\n{front}")
    assert "license: mit\n" in card
    assert "datasets:\n- lab/slides\n" in card
    assert card.index("Trained on slides.") < card.index("**Verdict: transported exactly")
    assert "# owner/model" not in card
    assert "does not know it" not in card
    assert not api.publish(proven, "owner/model", card=tmp_path / "card.md").is_new


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"---\na: [\n---\n", "metadata that are not YAML"),
        (b"---\n- a\n---\n", "metadata that are not fields"),
        (b"\xff", "utf-8"),
        (None, "No such file"),
    ],
)
def test_a_card_that_is_none_is_refused(proven: Path, tmp_path: Path, content: bytes | None, found: str) -> None:
    if content is not None:
        (tmp_path / "card.md").write_bytes(content)
    with pytest.raises(SettingError, match=r"`card` takes a card in Markdown") as error:
        api.publish(proven, "owner/model", card=tmp_path / "card.md")
    assert found in str(error.value)


def card_of(hub: Hub, folder: Path, card: Path, own: str) -> str:
    card.write_text(own)
    api.publish(folder, "owner/model", card=card)
    return contents(hub)["README.md"].decode()


@pytest.mark.parametrize("library", ["timm", "diffusers", "[a, b]"])
def test_the_library_that_loads_the_folder_is_no_matter_of_opinion(
    hub: Hub, proven: Path, tmp_path: Path, run: Run, library: str
) -> None:
    (tmp_path / "card.md").write_text(f"---\nlibrary_name: {library}\nlanguage: en\n---\n# Mine\n")
    done = run("publish", proven, "owner/model", "--card", tmp_path / "card.md")
    assert done.code == 0
    front = yaml.safe_load(contents(hub)["README.md"].decode().split("---\n")[1])
    assert (front["library_name"], front["language"]) == ("transformers", "en")
    assert "note        library_name is transformers, where your card says " in done.out


FACTS = {"license": "other", "license_name": "dinov3-license", "license_link": "LICENSE.md"}


@pytest.mark.parametrize(
    "theirs", [{"license": "mit"}, {"license_name": "mine"}, {"license": "other", "license_link": "x"}]
)
def test_a_licence_that_is_known_is_known_as_a_whole(theirs: dict[str, str]) -> None:
    report = {"verdict": {"text": "equal", "assumptions": []}, "source": {"where": "x"}}
    ours = f"---\n{yaml.safe_dump(FACTS)}---\n\n# a\n\n**Verdict: .**\n"
    card, overruled = published_card(ours, f"---\n{yaml.safe_dump(theirs)}---\n# Mine\n", report, "owner/model")
    assert {key: value for key, value in yaml.safe_load(card.split("---\n")[1]).items() if key != "tags"} == FACTS
    assert len(overruled) == sum(value != FACTS[key] for key, value in theirs.items())
    plain = published_card(
        ours.replace("other", "mit").replace("license_", "x_"), "---\nlicense_name: y\n---\n", report, "o/m"
    )
    assert plain[1] == ("license_name is left out, where your card says y",)


HOMES = ("/home/ulrike/runs/a.pth", "/Users/ulrike/x", "/root/x", "C:\\Users\\ulrike\\x", "(/home/u/x)")


@pytest.mark.parametrize("place", HOMES)
def test_a_card_that_names_a_home_folder_stays_here(hub: Hub, proven: Path, tmp_path: Path, place: str) -> None:
    (tmp_path / "card.md").write_text(f"# Mine\n\nMade from {place} by me.\n")
    with pytest.raises(SettingError, match="`card` names a home folder, and nothing was sent") as error:
        api.publish(proven, "owner/model", card=tmp_path / "card.md")
    assert f"where: {tmp_path / 'card.md'}, line 3" in str(error.value)
    assert f"found: {place.strip('()')}" in str(error.value)
    assert hub.log == []


def test_words_that_name_no_home_folder_go_up_as_they_are(hub: Hub, proven: Path, tmp_path: Path, run: Run) -> None:
    own = "# Mine\n\n</div> https://host/home/page and/or ~/data, see [it](/docs/home/x), at-home/x\n"
    (tmp_path / "card.md").write_text(own)
    done = run("publish", proven, "owner/model", "--card", tmp_path / "card.md")
    assert done.code == 0
    assert own.strip() in contents(hub)["README.md"].decode()
    assert "went up as they are: they were searched for home folders alone" in " ".join(done.out.split())


def test_a_card_of_dinoports_that_was_gone_on_with_is_not_written_twice(
    hub: Hub, proven: Path, other: Path, tmp_path: Path
) -> None:
    api.publish(proven, "owner/model")
    first = contents(hub)["README.md"].decode()
    edited = first.replace("# owner/model\n", "# Slides\n\nTrained on slides.\n") + "\n## Citation\n\nUs.\n"
    card = card_of(hub, proven, tmp_path / "card.md", edited)
    assert "Trained on slides." in card
    assert card.endswith("## Citation\n\nUs.\n")
    for once in ("**Verdict: ", "## Check it", "## Use"):
        assert card.count(once) == 1
    assert not api.publish(proven, "owner/model", card=tmp_path / "card.md").is_new


@pytest.mark.parametrize("to", ["transformers", "timm", "original", "training"])
def test_every_published_card_has_metadata_and_a_title(
    hub: Hub, proven: Path, tmp_path: Path, run: Run, to: str, recwarn: pytest.WarningsRecorder
) -> None:
    checkpoint = proven.parents[1] / "runs" / "checkpoint.pth"
    source, request = (proven, None) if to == "original" else (checkpoint, tiny.REQUEST)
    api.convert(source, tmp_path / "made", request, to=to, level="exact")
    done = run("publish", tmp_path / "made", "owner/model")
    assert (done.code, done.err) == (0, "")
    card = contents(hub)["README.md"].decode()
    front = yaml.safe_load(card.split("---\n")[1])
    assert {"dino", "vision", "dinoport"} <= set(front["tags"])
    assert front.get("library_name") == {"transformers": "transformers", "timm": "timm"}.get(to)
    assert card.count("\n# owner/model\n") == 1
    assert "# made" not in card
    assert not [each for each in recwarn if each.category is UserWarning]


def test_a_card_without_metadata_gets_some() -> None:
    """As earlier versions wrote it beside a start for training."""
    report = {
        "verdict": {"text": "equal", "assumptions": []},
        "source": {"where": "x"},
        "model": {"family": "DINO ViT (facebookresearch/dino)"},
    }
    card, _ = published_card("# made\n\n**Verdict: .**\n", None, report, "owner/model")
    assert card.startswith("---\ntags:\n- dino\n- vision\n- dinoport\n---\n\n# made\n")


def test_what_the_hub_says_of_a_card_is_told_in_our_words(
    hub: Hub, proven: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    warned = [{"message": "the licence is not one of the Hub's"}, {"message": "odd \x1b[2J"}]
    answer = {"errors": [], "warnings": warned}
    validated = ("POST", "/api/validate-yaml", lambda at: at.body() and answer)
    monkeypatch.setattr("tests.publishing.server.ROUTES", [validated, *ROUTES])
    done = run("publish", proven, "owner/model")
    assert (done.code, done.err) == (0, "")
    assert "note the Hub says of README.md: the licence is not one of the Hub's" in " ".join(done.out.split())
    assert "\x1b" not in done.out
