"""The picture of a report's page in the README: drawn by `make docs`, and held against the page by a test."""

import hashlib
import html
import io
import re
import tempfile
from importlib import resources
from pathlib import Path

from tests.report.browser import CHROMIUM, browser

PICTURE = Path(__file__).parents[2] / "docs" / "pictures" / "report.png"
WIDTH = 900

SHOWN = re.compile(r'<header class="verdict.*?<ul class="tiles">.*?</ul>', re.DOTALL)
"""The verdict and the four proofs."""


def words(page: str) -> str:
    """The words of the part that is drawn, without figures, which other machines have other ones of."""
    shown = SHOWN.search(page)
    assert shown is not None
    text = html.unescape(re.sub(r"<[^>]*>", " ", shown[0]))
    return re.sub(r"\s+", " ", re.sub(r"\d+(\.\d+)*(e-\d+)?", "#", text)).strip()


def style() -> str:
    """A hash of what decides how the page looks."""
    folder = resources.files("dinoport.report") / "page"
    return hashlib.sha256(b"".join((folder / name).read_bytes() for name in ("page.css", "page.html.j2"))).hexdigest()


def said_by(picture: Path) -> tuple[str, str]:
    """The words and the style that a picture was drawn from."""
    from PIL import Image

    with Image.open(picture) as opened:
        return opened.info["words"], opened.info["style"]


def draw(page: str, picture: Path = PICTURE) -> None:
    """Draw the page anew where the picture shows another one, and there is a browser."""
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    about = (words(page), style())
    if CHROMIUM is None or (picture.exists() and said_by(picture) == about):
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "page.html")
        path.write_text(page, encoding="utf-8")
        with browser(Path(folder, "profile")) as tab:
            tab.open(path, WIDTH)
            end = tab.evaluate("document.querySelector('.tiles').getBoundingClientRect().bottom")
            shot = Image.open(io.BytesIO(tab.screenshot())).convert("RGB")
    info = PngInfo()
    for name, text in zip(("words", "style"), about, strict=True):
        info.add_itxt(name, text)
    colours = shot.crop((0, 0, shot.width, round(end) + 32)).quantize(128)
    colours.save(picture, optimize=True, pnginfo=info)
