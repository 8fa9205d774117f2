"""Safetensors files whose headers say more, less or the same in another spelling."""

import json
import random

WORDS = (
    "null", "true", "-0", "0.0", "1e0", "00", "1", "2", "4", "8", "16", "32", "9223372036854775807",
    "18446744073709551615", "18446744073709551616", '""', '"F32"', '"F16"', '"BF16"', '"F4"', '"F8_E8M0"', '"C64"',
    '"I64"', '"U8"', '"BOOL"',
    '"f32"', "[]", "{}", "[0]", "[0,32]", "NaN", "Infinity", '"\\ud800"', '"\\u0061"', '"a"', '"\x7f"', '"\\n"',
)  # fmt: skip
PUT_IN = (
    ",", " ", "\n", "\t", "\x0b", "\xa0", ":", "{", "}", "[", "]", '"', '"extra":1,', '"dtype":"F32",', "/**/",
    "\ufeff",
    '"__metadata__":{},', '"__metadata__":null,', '"__metadata__":{"a":1},', '"__metadata__":{"a":null},', "\0",
    '"a":{"dtype":"F32","shape":[8],"data_offsets":[0,32]},', '"z":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},',
    '"z":{"dtype":"U8","shape":[0],"data_offsets":[64,64]},', '"shape":[8],', '"data_offsets":[0,32],',
)  # fmt: skip


def entry(dtype: str, shape: list[int], start: int, stop: int) -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, stop]}


def sound() -> list[dict[str, object]]:
    first = entry("F32", [2, 4], 0, 32)
    return [
        {"__metadata__": {"format": "pt"}, "blocks.0.w": first, "a": entry("BF16", [16], 32, 64)},
        {"a": first, "b": entry("I64", [4], 32, 64)},
        {"a": entry("U8", [4, 0], 0, 0), "b": entry("BOOL", [64], 0, 64)},
        {"s": entry("F64", [], 0, 8), "t": entry("F8_E4M3", [56], 8, 64)},
    ]


def mutated_header(rng: random.Random) -> bytes:
    """A file of a changed header and sixty-four bytes of tensors, or nearly."""
    text = json.dumps(rng.choice(sound()), separators=rng.choice(((",", ":"), (", ", ": "))))
    for _ in range(rng.choice((0, 1, 1, 1, 2))):
        text = _changed(rng, text)
    data = text.encode("utf-8", "surrogatepass")
    if rng.random() < 0.5:
        data += rng.choice((b" ", b"\n", b"\0", b"x")) * rng.choice((0, 1, 8 - len(data) % 8))
    values = bytes(range(64))
    if rng.random() < 0.1:
        values = rng.choice((values[:-1], values + b"x", b"", values * 2))
    length = len(data) + (rng.choice((-1, 1, 8, 2**32, 2**63)) if rng.random() < 0.05 else 0)
    return length.to_bytes(8, "little") + data + values


def _changed(rng: random.Random, text: str) -> str:
    places = [at for at, sign in enumerate(text) if sign in ',:[]{}"']
    kind = rng.randrange(5)
    if kind == 0:
        at = rng.choice(places) + 1
        return text[:at] + rng.choice(PUT_IN) + text[at:]
    if kind == 1:
        at = rng.randrange(len(text))
        return text[:at] + text[at + 1 :]
    if kind == 2:
        a, b = sorted(rng.sample(places, 2))
        return text[: a + 1] + rng.choice(WORDS) + text[b:]
    words = [word for word in ('"F32"', '"BF16"', "32", "64", "[2, 4]", "[2,4]", "16", "0", "8", '"a"') if word in text]
    if kind == 3 and words:
        return text.replace(rng.choice(words), rng.choice(WORDS), 1)
    at = rng.randrange(len(text))
    return text[:at] + chr(rng.choice((0, 32, 48, 57, 92, 0x7F, 0x80, 0xD800, 0x2028))) + text[at + 1 :]
