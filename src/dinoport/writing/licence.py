"""The licence of the original's weights, where it is known: what a card says of it, and its text."""

from dataclasses import dataclass
from pathlib import Path

from dinoport.files.json_file import write_text
from dinoport.files.output_file import WrittenFile


@dataclass(frozen=True)
class Licence:
    """`metadata` is what the Hub reads, line by line; `text` is a file in `licences/`, copied as `file_name`. One whose
    text is not kept here has a `link` to it.
    """

    title: str
    metadata: tuple[str, ...]
    text: str = ""
    file_name: str = ""
    link: str = ""

    @property
    def place(self) -> str:
        """Where its text is, for a card."""
        return f"<{self.link}>" if self.link else f"`{self.file_name}`"

    def write(self, folder: Path) -> WrittenFile:
        """Put the whole text into a folder. Raises FolderError where the disk refuses."""
        return write_text(folder / self.file_name, self.content)

    @property
    def content(self) -> str:
        from importlib import resources

        return (resources.files("dinoport.writing") / "licences" / self.text).read_text(encoding="utf-8")


LICENCES = {
    "apache-2.0": Licence("the Apache License 2.0", ("license: apache-2.0",), "apache-2.0.txt", "LICENSE"),
    "dinov3-license": Licence(
        "the DINOv3 License, which binds whoever passes these weights on to pass it on too",
        ("license: other", "license_name: dinov3-license", "license_link: LICENSE.md"),
        "dinov3.md",
        "LICENSE.md",
    ),
    "cc-by-nc-4.0": Licence(
        "Creative Commons Attribution-NonCommercial 4.0",
        ("license: cc-by-nc-4.0",),
        link="https://creativecommons.org/licenses/by-nc/4.0/legalcode",
    ),
    "cc-by-4.0": Licence(
        "Creative Commons Attribution 4.0",
        ("license: cc-by-4.0",),
        link="https://creativecommons.org/licenses/by/4.0/legalcode",
    ),
    "franca": Licence(
        "a research-only RAIL licence",
        ("license: other", "license_name: franca", "license_link: https://github.com/valeoai/Franca"),
        link="https://github.com/valeoai/Franca",
    ),
}
"""By the names that published models carry (`dinoport models`)."""
