#!/usr/bin/env bash
# Tests the Python package and the Python examples, with the daemon in bin/ where it has been built.
#
#   scripts/test-python.sh         by python3, or by $PYTHON
#   scripts/test-python.sh all     by every Python 3.9 or newer that is on this machine
set -euo pipefail
cd "$(dirname "$0")/../sdk/python"

# pythons: every usable interpreter once, by its own path. What PATH offers may be a shim that runs nothing.
pythons() {
  local candidate
  {
    compgen -c | grep -E '^python3\.[0-9]+$' || true
    if command -v pyenv >/dev/null; then
      printf '%s\n' "$(pyenv root)"/versions/*/bin/python3
    fi
    echo /usr/bin/python3
  } | sort -u | while IFS= read -r candidate; do
    "$candidate" -c 'import os, sys; sys.version_info >= (3, 9) and print(os.path.realpath(sys.executable))' 2>/dev/null </dev/null || true
  done | sort -u
}

case ${1:-} in
  "") found=("${PYTHON:-python3}") ;;
  all) mapfile -t found < <(pythons) ;;
  *)
    echo "usage: $0 [all]" >&2
    exit 2
    ;;
esac
if [ ${#found[@]} -eq 0 ]; then
  echo "there is no Python 3.9 or newer" >&2
  exit 1
fi

failed=()
for python in "${found[@]}"; do
  echo "test sdk/python by $("$python" --version) ($python)"
  # A descriptor or a connection that is left to the garbage collector is a leak. No bytecode is written into the tree.
  PYTHONDONTWRITEBYTECODE=1 "$python" -X dev -W error::ResourceWarning -m unittest discover -q -t . -s tests || failed+=("$python")
done
if [ ${#failed[@]} -gt 0 ]; then
  printf 'failed by: %s\n' "${failed[@]}" >&2
  exit 1
fi
