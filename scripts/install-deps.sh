#!/usr/bin/env bash
# Installs what the tests or the demonstration need beyond Go, by apt.
#
#   scripts/install-deps.sh test|demo...
#
# The lists are below: one line a package, with the command that succeeds when it is already there. Nothing is asked of
# apt when nothing is missing. Without apt, or without root or sudo, the script says what is missing and exits with 3;
# whoever calls it decides whether to go on.
set -euo pipefail

# group | package | is it there?
deps='
test | gcc                   | command -v gcc
test | libc6-dev             | echo "#include <stdlib.h>" | gcc -E -xc - -o /dev/null
test | git                   | command -v git
test | python3               | test -x /usr/bin/python3
test | nodejs                | command -v node
test | netcat-openbsd        | nc -h 2>&1 | grep -q OpenBSD
test | shellcheck            | command -v shellcheck
test | yamllint              | command -v yamllint
test | mypy                  | command -v mypy
test | systemd               | command -v systemd-analyze
demo | python3               | test -x /usr/bin/python3
demo | python3-pocketsphinx  | /usr/bin/python3 -c "import pocketsphinx"
demo | pocketsphinx-en-us    | test -d /usr/share/pocketsphinx/model/en-us
demo | pocketsphinx-testdata | test -d /usr/share/pocketsphinx/test/data/librivox
'

if [ $# -eq 0 ]; then
  echo "usage: $0 test|demo..." >&2
  exit 2
fi

missing=()
for wanted in "$@"; do
  known=no
  while IFS='|' read -r group package probe; do
    read -r group <<<"$group"
    [ "$group" = "$wanted" ] || continue
    known=yes
    read -r package <<<"$package"
    probe=${probe# }
    # A probe holds pipes of its own: read puts all that follows the second bar into it.
    bash -c "$probe" >/dev/null 2>&1 </dev/null || missing+=("$package")
  done <<<"$deps"
  if [ "$known" = no ]; then
    echo "$0: unknown list \"$wanted\"" >&2
    exit 2
  fi
done
if [ ${#missing[@]} -eq 0 ]; then
  exit 0
fi
mapfile -t missing < <(printf '%s\n' "${missing[@]}" | sort -u)

as_root=()
if ! command -v apt-get >/dev/null; then
  why="there is no apt-get here"
elif [ "$(id -u)" -eq 0 ]; then
  why=""
elif ! command -v sudo >/dev/null; then
  why="this is not root and there is no sudo"
elif [ -t 0 ]; then
  why="" as_root=(sudo)
elif sudo -n true 2>/dev/null; then
  why="" as_root=(sudo -n)
else
  why="sudo wants a password and there is no terminal to ask for it"
fi
if [ -n "$why" ]; then
  echo "missing: ${missing[*]}"
  echo "not installed, because $why; on Debian or Ubuntu: apt-get install ${missing[*]}"
  exit 3
fi

echo "installing: ${missing[*]}"
apt() {
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0 "$@" </dev/null
}
apt update
apt install -y --no-install-recommends "${missing[@]}" >/dev/null
