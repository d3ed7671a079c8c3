#!/usr/bin/env bash
# What a mirror of all traffic costs those who wait for the answers: at half load, the latency with every request copied to a second version
# beside the latency without, in turn. Prints each round and the ratio of the medians; 1.05 is allowed at the 99th percentile.
# usage: mirror.sh [ROUNDS [SECONDS]]    (8 6)
#   MODEL    an ONNX file with one FP32 input (iris_logreg)
set -euo pipefail
cd "$(dirname "$0")/.."
command -v wrk >/dev/null || { echo "error: wrk is not installed (apt-get install wrk)" >&2; exit 1; }
rounds=${1:-8} seconds=${2:-6}
slipway=artifacts/bin/Slipway.Cli/release/slipway
bench=artifacts/bin/Slipway.Benchmarks/release/Slipway.Benchmarks
model=${MODEL:-tests/Slipway.Tests/Serving/models/iris_logreg.onnx}
port=${PORT:-5697}
api=http://127.0.0.1:$port
json='Content-Type: application/json'
work=$(mktemp -d)
"$slipway" serve --data "$work/data" --urls "$api" --grpc-urls "http://127.0.0.1:$((port + 1))" >"$work/log" 2>&1 &
server=$!
trap 'kill $server 2>/dev/null || true; wait 2>/dev/null || true; rm -rf "$work"' EXIT
until curl -sf -o /dev/null "$api/readyz"; do sleep 0.05; done

post() { curl -sf -H "$json" -d "$2" "$api/$1"; }
run=$(post api/2.0/mlflow/runs/create '{"experiment_id":"0","start_time":1}' | sed 's/.*"run_id": *"\([0-9a-f]*\)".*/\1/')
curl -sf -o /dev/null -T "$model" "$api/api/2.0/mlflow-artifacts/artifacts/0/$run/artifacts/model/model.onnx"
post api/2.0/mlflow/registered-models/create '{"name":"m"}' >/dev/null
for _ in 1 2; do
  post api/2.0/mlflow/model-versions/create "{\"name\":\"m\",\"source\":\"mlflow-artifacts:/0/$run/artifacts/model\",\"run_id\":\"$run\"}" >/dev/null
done
post api/v1/endpoints '{"name":"m","modelVersion":"m/1"}' >/dev/null
"$bench" body "$model" 1 "$work/body" >/dev/null
cat >"$work/shadow.yaml" <<'PLAN'
apiVersion: slipway.dev/rollout/v1
kind: Rollout
endpoint: m
candidate: m/2
strategy: shadow
shadow: {percent: 100, minPairs: 1000000000}
PLAN
export BODY=$work/body.json JSON_LENGTH=

copies() { curl -sf "$api/metrics" | awk '/^slipway_shadow_answered_total/{n += $2} END{print n + 0}'; }
load() { wrk -t1 -c64 -d"$1s" --latency -s bench/post.lua "$api/v2/models/m/infer"; }
load 8 >/dev/null
rate=$(load 4 | awk '/Requests\/sec/{print $2}')
export PAUSE
PAUSE=$(awk -v r="$rate" 'BEGIN{p = 64000 / (r / 2); printf "%d", p < 1 ? 1 : p + .5}')
echo "at most $rate /s; each of 64 connections pauses $PAUSE ms on average"

measure() { # label: appends milliseconds at the median and the 99th percentile
  load "$seconds" | awk -v l="$1" '
    function ms(t) { return t ~ /us$/ ? t / 1000 : t ~ /ms$/ ? t + 0 : t * 1000 }
    /50%/{p=ms($2)} /99%/{q=ms($2)} /Requests\/sec/{r=$2} /Non-2xx/{e=" NOT 200: " $NF} END{printf "%s %.3f %.3f %.0f%s\n", l, p, q, r, e}' | tee -a "$work/times"
}

for _ in $(seq "$rounds"); do
  measure without
  rollout=$("$slipway" rollout start m m/2 -f "$work/shadow.yaml" --url "$api" -o name)
  # Copies have begun when the next request is counted as one.
  before=$(copies)
  until curl -sf -o /dev/null -H "$json" --data-binary "@$BODY" "$api/v2/models/m/infer" && [ "$(copies)" != "$before" ]; do sleep 0.1; done
  sleep 1
  measure mirrored
  post "api/v1/rollouts/${rollout##*/}/abort" '{"reason":"measured"}' >/dev/null
  sleep 1
done
median() { awk -v l="$1" -v c="$2" '$1 == l {print $c}' "$work/times" | sort -n | awk '{v[NR]=$1} END{print (v[int((NR+1)/2)] + v[int((NR+2)/2)]) / 2}'; }
for column in "2 p50" "3 p99"; do
  read -r c name <<<"$column"
  awk -v n="$name" -v a="$(median without "$c")" -v b="$(median mirrored "$c")" 'BEGIN{printf "%s: %.3f ms without, %.3f ms mirrored, ratio %.2f\n", n, a, b, b / a}'
done
curl -sf "$api/metrics" | grep -i shadow | grep -v '^#' || true
