import hashlib
import io
import json
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFile

from dinoport.errors import SettingError
from dinoport.networks.preprocessing import DINOV3_PROCESSOR, DINOV3_SAT, EVALUATION
from dinoport.proofs.picture import load_picture, picture_tensor, synthetic_picture

RECORDED = json.loads((Path(__file__).parents[1] / "fixtures" / "pixels" / "torchvision.json").read_text())


@pytest.mark.parametrize("case", RECORDED)
def test_the_transform_is_torchvisions_bit_for_bit(case: str) -> None:
    picture, crop = case.split(" to ")
    width, height = map(int, picture.split("x"))
    values = picture_tensor(synthetic_picture(width, height), EVALUATION.for_image_size(int(crop)))
    assert values.dtype == np.float32
    assert values.shape == (1, 3, int(crop), int(crop))
    assert hashlib.sha256(values.tobytes()).hexdigest() == RECORDED[case]


def test_other_input_sizes_keep_the_proportion_of_resize_and_crop() -> None:
    sizes = {size: EVALUATION.for_image_size(size).resize for size in (224, 96, 448, 518, 14)}
    assert sizes == {224: 256, 96: 110, 448: 512, 518: 592, 14: 16}
    assert EVALUATION.for_image_size(224) == EVALUATION
    assert DINOV3_PROCESSOR.for_image_size(512).resize == 512
    assert DINOV3_SAT.for_image_size(256).mean == (0.430, 0.411, 0.296)


def test_a_square_input_takes_the_whole_picture() -> None:
    halves = Image.fromarray(np.repeat([[0, 255]], 50, axis=1).astype(np.uint8)).resize((100, 10), 0)
    values = picture_tensor(halves, DINOV3_PROCESSOR)
    assert values.shape == (1, 3, 224, 224)
    black, white = values[0, 0, 0, 0], values[0, 0, 0, -1]
    np.testing.assert_allclose([black, white], [-0.485 / 0.229, (1 - 0.485) / 0.229], rtol=1e-6)


def test_the_synthetic_picture_is_the_same_everywhere() -> None:
    picture = synthetic_picture()
    assert (picture.size, picture.mode) == ((640, 480), "RGB")
    digest = hashlib.sha256(picture.tobytes()).hexdigest()
    assert digest == "e98c50d4a56109053a253f7e049a1464f793ce5629d6fa52bfca887c41c817c8"
    assert synthetic_picture(seed=8).tobytes() != picture.tobytes()
    assert synthetic_picture(1, 1).size == (1, 1)


def test_the_synthetic_picture_uses_the_whole_range_and_neither_end_too_much() -> None:
    levels = np.asarray(synthetic_picture())
    assert (levels.min(), levels.max()) == (0, 255)
    assert np.isin(levels, (0, 255)).mean() < 0.1
    assert levels.reshape(-1, 3).std(axis=0).min() > 40


@pytest.mark.parametrize("mode", ["RGBA", "L", "P", "LA", "1", "CMYK"])
def test_every_mode_becomes_rgb(mode: str, tmp_path: Path) -> None:
    picture = synthetic_picture(40, 30).convert("RGB" if mode != "CMYK" else "CMYK").convert(mode)
    if mode in ("RGBA", "LA"):
        picture.putalpha(Image.linear_gradient("L").resize((40, 30)))
    path = tmp_path / ("picture.tiff" if mode == "CMYK" else "picture.png")
    picture.save(path)
    loaded = load_picture(path)
    assert loaded.mode == "RGB"
    assert loaded.tobytes() == picture.convert("RGB").tobytes()


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "1"])
@pytest.mark.parametrize("file_format", ["PNG", "GIF"])
def test_a_colour_that_is_seen_through_is_dropped(mode: str, file_format: str, tmp_path: Path) -> None:
    """As the originals' loaders drop it; Pillow keeps it beside an RGB picture, and processors look there."""
    picture = synthetic_picture(24, 24).convert(mode)
    key = picture.getpixel((12, 12))
    picture.save(tmp_path / "picture", format=file_format, transparency=key)
    with Image.open(tmp_path / "picture") as opened:
        expected = np.asarray(opened.convert("RGB"))
    loaded = load_picture(tmp_path / "picture")
    assert "transparency" not in loaded.info
    assert np.array_equal(np.asarray(loaded), expected)


def test_an_orientation_tag_is_left_alone(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    synthetic_picture(40, 30).save(tmp_path / "turned.png", exif=exif)
    assert load_picture(tmp_path / "turned.png").size == (40, 30)


def refusal(path: Path) -> str:
    with pytest.raises(SettingError) as caught:
        load_picture(path)
    return str(caught.value)


def message(path: Path, found: str) -> str:
    return (
        f"{path} cannot be used as a picture\n"
        "  expected: a picture that Pillow opens, such as JPEG or PNG\n"
        f"  found: {found}\n"
        "  try: give another picture"
    )


def encoded(file_format: str) -> bytes:
    stream = io.BytesIO()
    synthetic_picture(64, 48).save(stream, file_format)
    return stream.getvalue()


def test_no_file_a_folder_and_no_picture(tmp_path: Path) -> None:
    assert refusal(tmp_path / "none.png") == message(tmp_path / "none.png", "there is no such file")
    assert refusal(tmp_path) == message(tmp_path, "it is a folder")
    for content in (b"", b"no picture", b"<html></html>"):
        path = tmp_path / "file.jpg"
        path.write_bytes(content)
        assert refusal(path) == message(path, "its content is not a picture of a known format")


@pytest.mark.parametrize("file_format", ["PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP", "PPM", "JPEG2000"])
def test_formats(file_format: str, tmp_path: Path) -> None:
    (tmp_path / "picture").write_bytes(encoded(file_format))
    assert load_picture(tmp_path / "picture").size == (64, 48)


def test_no_picture_is_given_to_another_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pillow has Ghostscript run what it takes for EPS, whatever the file is called."""
    path = tmp_path / "picture.jpg"
    path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n(x) run\n")
    monkeypatch.setattr("subprocess.Popen", lambda *given, **options: pytest.fail("a program was started"))
    assert refusal(path) == message(path, "its content is not a picture of a known format")


@pytest.mark.parametrize("file_format", ["PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP"])
def test_cut_off(file_format: str, tmp_path: Path) -> None:
    path = tmp_path / "picture"
    content = encoded(file_format)
    path.write_bytes(content[: len(content) // 2])
    assert "cannot be used as a picture" in refusal(path)


def test_cut_off_is_said(tmp_path: Path) -> None:
    path = tmp_path / "picture.png"
    path.write_bytes(encoded("PNG")[:3000])
    assert "  found: damaged or cut off: " in refusal(path)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_damage_never_escapes_as_another_error(tmp_path: Path) -> None:
    path = tmp_path / "picture"
    random = np.random.default_rng(3)
    refused = 0
    for file_format in ("PNG", "JPEG", "GIF", "TIFF", "BMP", "DDS"):
        content = encoded(file_format)
        for _ in range(40):
            damaged = bytearray(content)
            for place in random.integers(0, min(len(content), 400), 4):
                damaged[place] = random.integers(0, 256)
            path.write_bytes(damaged)
            try:
                load_picture(path)
            except SettingError:
                refused += 1
    assert refused > 20


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("file_format", ["PNG", "TIFF", "GIF", "BMP"])
@pytest.mark.parametrize(
    ("size", "found"),
    [
        ((5001, 5000), "5001×5000 pixels, more than 25 million"),
        ((9400, 9400), "9400×9400 pixels, more than 25 million"),
        ((12_001, 1), "12001×1 pixels, where a side has at most 12000"),
        ((1, 12_001), "1×12001 pixels, where a side has at most 12000"),
        ((1700, 100), "1700×100 pixels, where one side is at most 16 times the other"),
        ((1, 17), "1×17 pixels, where one side is at most 16 times the other"),
    ],
)
def test_sizes_are_looked_at_before_pixels(
    file_format: str, size: tuple[int, int], found: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "picture"
    Image.new("1" if file_format in ("PNG", "TIFF") else "L", size).save(path, file_format)
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda *given: pytest.fail("decoded"))
    assert refusal(path) == message(path, found)


@pytest.mark.filterwarnings("error")
def test_pillows_own_limit_is_a_message_too(tmp_path: Path) -> None:
    """It comes before ours where a picture is opened. A header says the size, and no pixel need follow."""
    path = tmp_path / "bomb.png"
    header = b"IHDR" + struct.pack(">IIBBBBB", 10**5, 10**5, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk + bytes(4) + b"IDAT" + struct.pack(">I", zlib.crc32(b"IDAT")))
    assert "  found: more pixels than Pillow opens: Image size (10000000000 pixels) exceeds limit" in refusal(path)


@pytest.mark.parametrize("sides", [(5000, 5000), (16, 1), (1, 16)])
def test_the_largest_that_are_opened(tmp_path: Path, sides: tuple[int, int]) -> None:
    Image.new("1", sides).save(tmp_path / "picture.png")
    assert load_picture(tmp_path / "picture.png").size == sides


@pytest.mark.parametrize("file_format", ["GIF", "TIFF", "WEBP", "PNG", "MPO"])
def test_of_several_pictures_in_a_file_the_first_counts(tmp_path: Path, file_format: str) -> None:
    first, *others = (synthetic_picture(40, 30, seed) for seed in (1, 2, 3))
    first.save(tmp_path / "picture", file_format, save_all=True, append_images=others, **LOSSLESS.get(file_format, {}))
    loaded = load_picture(tmp_path / "picture")
    difference = abs(np.asarray(loaded).astype(int) - np.asarray(first)).mean()
    assert difference < (0.1 if file_format in ("TIFF", "WEBP", "PNG") else 20)


LOSSLESS = {"WEBP": {"lossless": True}, "MPO": {"quality": 95}}


def test_a_file_that_is_too_large_is_not_opened(tmp_path: Path) -> None:
    with (tmp_path / "picture.webp").open("wb") as file:
        file.write(b"RIFF\0\0\0\0WEBPVP8L")
        file.truncate(500_000_001)
    found = "500.0 MB, more than 500.0 MB"
    assert refusal(tmp_path / "picture.webp") == message(tmp_path / "picture.webp", found)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_pipe_and_a_device_are_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert "cannot be used as a picture" in refusal(tmp_path / "pipe")
    assert "cannot be used as a picture" in refusal(Path("/dev/zero"))
