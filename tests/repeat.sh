#!/usr/bin/env bash
# The whole suite over and over: idle, beside a full load on every core, with 1, 2 and 8 test threads, and on one core.
# Prints a line a run; exit code 1 if any run failed. `make check-flaky` runs all of it, which takes an hour or more.
#
#   tests/repeat.sh [RUNS]               runs idle and runs under load (default 10)
#   KINDS="idle" tests/repeat.sh 3       some kinds only: idle loaded threads one-core
#   FILTER=stream:: tests/repeat.sh 3    some tests only
#   PROGRAMS="target/release/deps/it-…"  these test programs instead of what cargo builds
#
# Everything is compiled before the first run, and what the tests install is there after one run that is not counted.
set -uo pipefail
cd "$(dirname "$0")/.."
runs=${1:-10}
kinds=${KINDS:-idle loaded threads one-core}
logs=target/repeat
cores=$(nproc)
mkdir -p "$logs"
# As cargo and .cargo/config.toml set them: the programs are started without cargo.
export ORT_DISABLE_TELEMETRY=1 CARGO_MANIFEST_DIR=$PWD RUST_TEST_THREADS=${RUST_TEST_THREADS:-4}

if [ -n "${PROGRAMS:-}" ]; then
  read -ra programs <<<"$PROGRAMS"
else
  cargo test --locked --release --no-run || exit 1
  # The test programs, as cargo names them: those of the library, of the binary and of tests/.
  mapfile -t programs < <(cargo test --locked --release --no-run --message-format=json 2>/dev/null |
    python3 -c 'import json,sys
for line in sys.stdin:
    message = json.loads(line)
    if message.get("reason") == "compiler-artifact" and message["profile"]["test"] and message.get("executable"):
        print(message["executable"])')
fi
[ ${#programs[@]} -gt 0 ] || { echo "there are no test programs" >&2; exit 1; }

load_pids=()
load() { for _ in $(seq "$cores"); do (while :; do :; done) & load_pids+=($!); done; }
unload() { [ ${#load_pids[@]} -eq 0 ] || kill "${load_pids[@]}" 2>/dev/null; load_pids=(); }
trap unload EXIT
trap 'exit 130' INT TERM

failed=0
# one KIND RUN [COMMAND...]: all programs once, by a command that runs them.
one() {
  local kind=$1 run=$2 log="$logs/$1-$2.log" result=ok count
  shift 2
  local begun=$SECONDS
  : >"$log"
  for program in "${programs[@]}"; do
    # A run that hangs is a failure, too.
    timeout 3600 "$@" "$program" ${FILTER:-} >>"$log" 2>&1 || result=FAILED
  done
  count=$(grep -c '^test .* ok$' "$log")
  [ $result = ok ] || failed=1
  printf '%-10s %-4s %-8s %-8s %-6s %-6s %s\n' "$kind" "$run" $((SECONDS - begun)) "$(cut -d' ' -f1 /proc/loadavg)" \
    "$count" $result "$(sed -n 's/^test \(.*\) \.\.\. FAILED$/\1/p' "$log" | paste -sd' ')"
}

# The first Python test installs packages.
for program in "${programs[@]}"; do "$program" --exact python::the_python_example_scores_the_samples >/dev/null 2>&1; done
printf '%-10s %-4s %-8s %-8s %-6s %-6s %s\n' kind run seconds loadavg passed result failures
for kind in $kinds; do
  case $kind in
    idle) for run in $(seq "$runs"); do one idle "$run"; done ;;
    loaded)
      load
      for run in $(seq "$runs"); do one loaded "$run"; done
      unload ;;
    threads) for threads in 1 2 8; do one "threads-$threads" 1 env RUST_TEST_THREADS="$threads"; done ;;
    one-core) one one-core 1 taskset -c 0 ;;
    *) echo "unknown kind: $kind" >&2; exit 2 ;;
  esac
done
echo "logs of the runs: $logs"
exit $failed
