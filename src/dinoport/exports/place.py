"""Whether a place holds a graph that somebody exported, and no weights."""

from pathlib import Path

from dinoport.errors import UnsafeCheckpointError
from dinoport.files.folders import LocalFolder
from dinoport.formats.transformers_folder import is_transformers_folder

SUFFIX = ".onnx"

GRAPH = f"model{SUFFIX}"
"""What Transformers' exporter calls the graph in the folder that it writes."""

FIRST_FIELD = b"\x08"
"""How an ONNX file begins: with the number of its format."""

ARCHIVE_SUFFIX = ".pt2"


def exported_at(place: Path) -> Path | None:
    """The ONNX file at a place: the file itself, or the one in an exporter's folder; None for anything else.

    Raises UnsafeCheckpointError for an archive of torch.export.
    """
    if place.suffix == ARCHIVE_SUFFIX and place.is_file():
        raise UnsafeCheckpointError(
            f"{place} is an archive of torch.export, which is not read",
            found="graph and weights that torch.export.load reads, and it runs code that the file holds",
            next_step="export the model as ONNX, with torch.onnx.export or Transformers' OnnxExporter, and give that",
        )
    if place.is_dir():
        graph = place / GRAPH
        return graph if graph.is_file() and not is_transformers_folder(LocalFolder(place)) else None
    if place.suffix == SUFFIX:
        return place
    try:
        with place.open("rb") as file:
            start = file.read(3)
    except OSError:
        return None
    return place if start[:1] == FIRST_FIELD and start[2:] in (b"\x12", b"\x3a", b"\x42") else None
