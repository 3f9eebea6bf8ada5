#!/usr/bin/env bash
# The checks that run no code: formatting, vet, shell, YAML, Python types. Every one runs, so that one call shows all
# that is wrong; the exit code is 1 when any failed. A tool that is missing is named and passed over, but not with CI set.
set -uo pipefail
cd "$(dirname "$0")/.." || exit

failed=()

# check NAME TOOL COMMAND...
check() {
  local name=$1 tool=$2
  shift 2
  if ! command -v "$tool" >/dev/null; then
    echo "check $name: SKIPPED, there is no $tool"
    [ -z "${CI:-}" ] || failed+=("$name")
    return
  fi
  echo "check $name"
  "$@" || failed+=("$name")
}

# tracked PATTERN...: the files of the tree, those not yet added included, and none of what is ignored
tracked() {
  git ls-files --cached --others --exclude-standard -- "$@" | while IFS= read -r file; do
    if [ -e "$file" ]; then printf '%s\n' "$file"; fi
  done
}

gofmt_clean() {
  local files
  files=$(tracked '*.go' | xargs -r gofmt -l)
  [ -z "$files" ] || { echo "not formatted by gofmt: $files"; return 1; }
}

# Scripts are known by their first line; not all have a suffix.
shell_clean() {
  tracked | xargs -r -d '\n' awk 'FNR == 1 { if (/^#!.*sh$/) print "./" FILENAME; nextfile }' | xargs -r -d '\n' shellcheck
}

yaml_clean() { tracked '*.yaml' '*.yml' | xargs -r -d '\n' yamllint --strict; }

# The package is checked as one; each example by itself, since every one of them has a worker.py. 3.9 is the oldest
# Python that the package supports.
python_typed() {
  local cache status=0 file
  cache=$(mktemp -d)
  MYPYPATH=sdk/python mypy --strict --python-version 3.9 --cache-dir "$cache" sdk/python || status=1
  while IFS= read -r file; do
    MYPYPATH=sdk/python mypy --strict --python-version 3.9 --cache-dir "$cache" "$file" || status=1
  done < <(tracked 'examples/*.py')
  rm -rf "$cache"
  return $status
}

check gofmt gofmt gofmt_clean
check "go vet" go go vet ./...
check shellcheck shellcheck shell_clean
check yamllint yamllint yaml_clean
check "mypy --strict" mypy python_typed

if [ ${#failed[@]} -gt 0 ]; then
  printf 'failed: %s\n' "${failed[@]}"
  exit 1
fi
