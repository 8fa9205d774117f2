"""Write messages.txt anew: every refusal of a hostile file in full. Read the difference before it is committed."""

import tempfile
from pathlib import Path

from tests.hostile.material import ENTRIES, MESSAGES, Guard, unpacked


def main() -> None:
    guard = Guard()
    with tempfile.TemporaryDirectory() as folder:
        outcomes = {entry.name: guard.convert(unpacked() / entry.name, Path(folder, entry.name)) for entry in ENTRIES}
    guard.close()
    refused = sorted((name, outcome.stderr) for name, outcome in outcomes.items() if outcome.exit_code)
    MESSAGES.write_text("".join(f"=== {name}\n{text}\n" for name, text in refused))


if __name__ == "__main__":
    main()
