#!/usr/bin/env bash
# The demonstration behind `make demo`: a daemon of its own in a temporary directory, real calls, a crash, a cancel, a
# clean stop. Exits non-zero at the first thing that does not go as told. Leaves nothing behind.
set -euo pipefail
cd "$(dirname "$0")/.."
repo=$PWD
supervisord=$repo/bin/supervisord

bold="" dim="" red="" reset=""
if [ -t 1 ] && [ -z "${NO_COLOR:-}" ]; then
  bold=$'\e[1m' dim=$'\e[2m' red=$'\e[31m' reset=$'\e[0m'
fi
say() { printf '\n%s%s%s\n' "$bold" "$*" "$reset"; }
show() { printf '%s$ %s%s\n' "$dim" "$*" "$reset"; }
fail() {
  printf '\n%sdemo failed: %s%s\n' "$red" "$*" "$reset" >&2
  if [ -s "$dir/daemon.log" ]; then
    echo "the daemon's last log lines:" >&2
    tail -n 20 "$dir/daemon.log" >&2
  fi
  exit 1
}

# Everything of the demonstration carries its directory in the environment, so that what is left can be found, a
# worker's grandchildren included.
dir=$(mktemp -d /tmp/sv-demo.XXXXXX)
export SUPERVISORD_SOCKET=$dir/s
left_over() {
  local file
  for file in /proc/[0-9]*/environ; do
    if tr '\0' '\n' 2>/dev/null <"$file" | grep -qx "DEMO_DIR=$dir"; then
      file=${file#/proc/}
      echo "${file%/environ}"
    fi
  done
}
daemon="" caller=""
cleanup() {
  local pid
  for pid in $caller $daemon; do
    kill -KILL "$pid" 2>/dev/null || true
  done
  for pid in $(left_over); do
    kill -KILL "$pid" 2>/dev/null || true
  done
  rm -rf "$dir"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
trap 'fail "line $LINENO: $BASH_COMMAND"' ERR

# What can run here: speech recognition where its packages are, else the built-in worker alone.
recordings=/usr/share/pocketsphinx/test/data/librivox
code=0
scripts/install-deps.sh demo || code=$?
case $code in
  0) speech=yes ;;
  3) speech=no; echo "going on with the built-in worker, which needs nothing" ;;
  *) fail "the packages of the demonstration could not be installed" ;;
esac

root="false"
if [ "$(id -u)" -eq 0 ]; then
  # The daemon refuses to run workers as root unless told so; a demonstration on one's own machine is such a case.
  root="true"
fi
pool() {
  printf '  - name: %s\n    command: %s\n    directory: %s\n    allow_root: %s\n    restart_backoff_base: 100ms\n' "$1" "$2" "$repo" "$root"
  printf '    env: ["DEMO_DIR=%s", "PYTHONPATH=sdk/python"]\n' "$dir"
}
{
  printf 'version: 1\nsocket: {path: %s}\npools:\n' "$SUPERVISORD_SOCKET"
  pool demo "[$supervisord, worker, demo]"
  if [ "$speech" = yes ]; then
    pool text "[/usr/bin/python3, examples/text/worker.py]"
    pool transcribe "[/usr/bin/python3, examples/transcribe/worker.py]"
  fi
} >"$dir/supervisord.yaml"

say "1. The daemon starts, with a socket at $SUPERVISORD_SOCKET and these pools"
sed -n 's/^  - name: \(.*\)/  \1/p; s/^    command: \(.*\)/      runs \1/p' "$dir/supervisord.yaml"
"$supervisord" check "$dir/supervisord.yaml" >"$dir/check.out" || { cat "$dir/check.out" >&2; fail "the configuration is not valid"; }
DEMO_DIR=$dir "$supervisord" serve --config "$dir/supervisord.yaml" >"$dir/daemon.log" 2>&1 &
daemon=$!
deadline=$((SECONDS + 30))
until "$supervisord" call daemon.ping >/dev/null 2>&1; do
  kill -0 "$daemon" 2>/dev/null || fail "the daemon ended"
  [ $SECONDS -lt $deadline ] || fail "the daemon did not answer within 30 s"
  sleep 0.05
done

# worker_pid POOL: the process that now is the pool's only worker
worker_pid() {
  "$supervisord" call worker.list | tr -d ' \n' | tr '{' '\n' |
    sed -n "s|^\"worker\":\"$1/0\".*\"pid\":\([0-9][0-9]*\).*|\1|p"
}

# begin OUTPUT PLUGIN ARGUMENT...: starts a streaming call in the background (its process: $caller, its output: file
# descriptor 3) and returns with the first piece of its stream. Job control gives it a SIGINT that is not ignored.
begin() {
  mkfifo "$dir/pipe"
  set -m
  "$supervisord" run "$@" --stream >"$dir/pipe" 2>"$dir/caller.err" &
  caller=$!
  set +m
  exec 3<"$dir/pipe"
  rm "$dir/pipe"
  IFS= read -r -n 1 -t 60 first <&3 || fail "no stream came from $1: $(cat "$dir/caller.err")"
  printf '  %s' "$first"
}

# finish: waits for the call, prints the rest of its stream, and leaves its exit code in $code
finish() {
  code=0
  cat <&3
  exec 3<&-
  wait "$caller" || code=$?
  caller=""
  printf '\n'
  sed 's/^/  /' "$dir/caller.err"
}

if [ "$speech" = yes ]; then
  say "2. Real recordings become text while they are being recognized, by one worker that has loaded its model once"
  mapfile -t files < <(printf '%s\n' "$recordings"/*.wav | head -n 3)
  for file in "${files[@]}"; do
    show "supervisord run transcribe --stream path=$file"
    "$supervisord" run transcribe --stream "path=$file" | tee "$dir/text"
    grep -q '[a-z]' "$dir/text" || fail "no text came"
  done
  say "   The text example answers in one piece"
  show "supervisord run word_count text='the quick brown fox'"
  "$supervisord" run word_count "text=the quick brown fox"
  victim=transcribe plugin=(transcribe "path=${files[0]}")
else
  say "2. The built-in worker answers, whole and in pieces"
  show "supervisord run echo text=hello"
  "$supervisord" run echo text=hello
  show "supervisord run count count=5 ms=100 --stream"
  "$supervisord" run count count=5 ms=100 --stream
  victim=demo plugin=(count count=600 ms=50)
fi

say "3. The worker is killed in mid stream: its caller is told at once what happened, and the next call works"
show "supervisord run ${plugin[*]} --stream & kill -KILL the worker's process"
begin "${plugin[@]}"
pid=$(worker_pid "$victim")
[ -n "$pid" ] || fail "worker.list names no process for $victim/0"
kill -KILL "$pid"
finish
[ "$code" -eq 4 ] || fail "the call should have ended with exit code 4, job failed, and ended with $code"
grep -q 1001 "$dir/caller.err" || fail "the error should have been 1001, worker died"
echo "  exit code $code: job failed. The same call again, answered by process $pid's successor:"
"$supervisord" run "${plugin[@]}" --stream | tail -n 3
successor=$(worker_pid "$victim")
if [ -z "$successor" ] || [ "$successor" = "$pid" ]; then
  fail "the killed worker has no successor"
fi

say "4. Ctrl-C cancels a job; it really ends"
show "supervisord run count count=600 ms=100 --stream & kill -INT the caller"
begin count count=600 ms=100 --pool demo
kill -INT "$caller"
finish
[ "$code" -eq 5 ] || fail "the call should have ended with exit code 5, cancelled, and ended with $code"
echo "  exit code $code: cancelled"

say "5. SIGTERM stops everything in order"
show "kill -TERM the daemon"
kill -TERM "$daemon"
code=0
wait "$daemon" || code=$?
daemon=""
[ "$code" -eq 0 ] || fail "the daemon should have ended with exit code 0, and ended with $code"
left=$(left_over)
[ -z "$left" ] || fail "processes are left: $left"
[ ! -e "$SUPERVISORD_SOCKET" ] || fail "the socket file is left"
echo "  exit code 0, no process left, no socket left"
say "That is all. README.md tells how to write a worker of your own and call it."
