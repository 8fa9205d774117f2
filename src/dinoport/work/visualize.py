"""`visualize`: what a converted folder sees in a picture, as files."""

from pathlib import Path

from dinoport.files.address import local_folder, refuse_empty
from dinoport.files.byte_sources import refuse_absent
from dinoport.pictures.drawing import Visualization, check_place, draw
from dinoport.pictures.seeing import see
from dinoport.progress import DRAWING, Progress
from dinoport.proofs.picture import load_picture
from dinoport.request import check_fits
from dinoport.work.arguments import refuse_missing


def visualize_folder(
    folder: str | Path, image: str | Path, out: str | Path, size: int, mass: float, on_progress: Progress
) -> Visualization:
    """Draw what a folder sees. Raises SettingError and FolderError, before any work, for what does not fit."""
    refuse_missing("drawing what a model sees needs", "matplotlib")
    refuse_empty("`out`", out)
    check_fits("mass", mass)
    check_fits("size", size)
    place = local_folder(folder)
    refuse_absent(place)
    picture = load_picture(Path(image))
    check_place(Path(out))
    seen = see(place, picture, size, on_progress=on_progress)
    on_progress(DRAWING, 0, 0)
    return draw(seen, Path(out), mass)
