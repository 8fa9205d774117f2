#!/usr/bin/env bash
# The steps of action.yml. Inputs come as variables, and are never part of a command's text.
set -euo pipefail

: "${REPOSITORY:?owner/name is missing}"
: "${GITHUB_ACTION_PATH:?this is a step of a GitHub Action}"

[ -n "${HF_TOKEN:-}" ] || unset HF_TOKEN

install() {
  python -m pip install --quiet "$@" || { echo "word=error" >> "$GITHUB_OUTPUT"; exit 1; }
}

if [ -n "${SOURCE:-}" ]; then
  wanted=("$GITHUB_ACTION_PATH[verify]")
  [ -z "${TRANSFORMERS:-}" ] || wanted+=("transformers==$TRANSFORMERS")
  install --extra-index-url https://download.pytorch.org/whl/cpu "${wanted[@]}"
else
  install "$GITHUB_ACTION_PATH"
fi

python "$GITHUB_ACTION_PATH/action/verify.py"
