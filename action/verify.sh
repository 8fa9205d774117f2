#!/usr/bin/env bash
# The steps of action.yml. Inputs come as variables, and are never part of a command's text.
set -euo pipefail

: "${GITHUB_ACTION_PATH:?this is a step of a GitHub Action}"

# However this ends, the output `word` is written.
told() { grep -qs '^word=' "$GITHUB_OUTPUT" || echo "word=error" >> "$GITHUB_OUTPUT"; }
trap told EXIT

if [ -z "${REPOSITORY:-}" ]; then
  message="the input \`repository\` is missing: owner/name on the Hub"
  echo "::error::$message"
  printf '**error**\n\n%s\n' "$message" >> "$GITHUB_STEP_SUMMARY"
  exit 2
fi

[ -n "${HF_TOKEN:-}" ] || unset HF_TOKEN

install() {
  python -m pip install --quiet "$@" || exit 1
}

if [ -n "${SOURCE:-}" ]; then
  wanted=("$GITHUB_ACTION_PATH[verify]")
  [ -z "${TRANSFORMERS:-}" ] || wanted+=("transformers==$TRANSFORMERS")
  install --extra-index-url https://download.pytorch.org/whl/cpu "${wanted[@]}"
else
  install "$GITHUB_ACTION_PATH"
fi

python "$GITHUB_ACTION_PATH/action/verify.py"
