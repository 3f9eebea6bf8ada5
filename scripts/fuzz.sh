#!/usr/bin/env bash
# Runs every fuzz target of the module for the time given, one after the other.
#
#   scripts/fuzz.sh [TIME]        TIME as Go writes it: 30s, 5m
set -euo pipefail
cd "$(dirname "$0")/.."
time=${1:-30s}

count=0
while IFS=: read -r file target; do
  package=./$(dirname "$file")
  echo "fuzz $package $target $time"
  # Minimising a large input that is merely new can take all of the time.
  go test -run '^$' -fuzz "^$target\$" -fuzztime "$time" -fuzzminimizetime 10x "$package"
  count=$((count + 1))
done < <(git ls-files --cached --others --exclude-standard -- '*_test.go' | grep -v '^bench/' |
  xargs -r -d '\n' grep -HoE '^func Fuzz[A-Za-z0-9_]+' | sed 's/:func /:/' | sort)
if [ "$count" -eq 0 ]; then
  echo "no fuzz target found" >&2
  exit 1
fi
echo "fuzzed $count targets"
