#!/usr/bin/env bash
# The steps of action.yml. Inputs come as variables, and are never part of a command's text.
set -euo pipefail

: "${REPOSITORY:?owner/name is missing}"
: "${GITHUB_ACTION_PATH:?this is a step of a GitHub Action}"

place="hf://$REPOSITORY${REVISION:+@$REVISION}"
[ -n "${HF_TOKEN:-}" ] || unset HF_TOKEN

if [ -n "${SOURCE:-}" ]; then
  wanted=("$GITHUB_ACTION_PATH[verify]")
  [ -z "${TRANSFORMERS:-}" ] || wanted+=("transformers==$TRANSFORMERS")
  python -m pip install --quiet --extra-index-url https://download.pytorch.org/whl/cpu "${wanted[@]}"
else
  python -m pip install --quiet "$GITHUB_ACTION_PATH"
fi

command=(verify)
[ -z "${SOURCE:-}" ] || command+=("$SOURCE")
command+=("$place" --json)
while read -r -a words; do
  command+=("${words[@]}")
done <<< "${OPTIONS:-}"

status=0
python -m dinoport "${command[@]}" > dinoport-verify.json || status=$?
python - <<'PYTHON'
import json
import os

with open("dinoport-verify.json", encoding="utf-8") as file:
    found = json.load(file)
word = found.get("word") or found.get("verdict", {}).get("word") or "error"
text = found.get("claims") or found.get("verdict", {}).get("text") or found.get("error", {}).get("what", "")
with open(os.environ["GITHUB_OUTPUT"], "a", encoding="utf-8") as file:
    file.write(f"word={word}\n")
lines = [f"**{word}** {' '.join(str(text).split())}", *(f"- {change}" for change in found.get("changes", ()))]
with open(os.environ["GITHUB_STEP_SUMMARY"], "a", encoding="utf-8") as file:
    file.write("\n".join(lines) + "\n")
print("\n".join(lines))
PYTHON
exit "$status"
