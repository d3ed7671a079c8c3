#!/usr/bin/env bash
# Inference over HTTP with everything on (key, routing, signature, prediction log, monitoring, metrics), beside what it could be at best and what
# others make of it, in one run on the same cores as the load: an empty Kestrel handler, a naive minimal-API server, onnxruntime-node
# (where NODE_FOLDER has it), and ONNX Runtime alone. One line a case: requests a second, median and 99th percentile, CPU of the server and bytes
# that it allocated a request.
# usage: serve.sh [CASE...]    cases: tiny trees cnn mlp idle half (default: all)
#   MODELS   folder with iris_logreg, digits_mlp and, for more cases, wine_gbt100, diabetes_xgb500, digits_cnn
#   SECONDS_ seconds a measurement (5)
# Needs wrk (Debian), curl and a build of the solution.
set -euo pipefail
cd "$(dirname "$0")/.."
command -v wrk >/dev/null || { echo "error: wrk is not installed (apt-get install wrk)" >&2; exit 1; }
slipway=artifacts/bin/Slipway.Cli/release/slipway
bench=artifacts/bin/Slipway.Benchmarks/release/Slipway.Benchmarks
models=${MODELS:-tests/Slipway.Tests/Serving/models}
seconds=${SECONDS_:-5}
base=${PORT:-5690}
work=$(mktemp -d)
pids=()
trap 'for p in "${pids[@]}"; do kill "$p" 2>/dev/null || true; done; wait 2>/dev/null || true; rm -rf "$work"' EXIT
quiet=${QUIET:-}

start() { # name port command...: sets pid_NAME
  local name=$1 port=$2; shift 2
  "$@" >"$work/$name.log" 2>&1 &
  eval "pid_$name=$!"; pids+=($!)
  for _ in $(seq 300); do (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null && return; sleep 0.05; done
  echo "error: $name did not start" >&2; tail -5 "$work/$name.log" >&2; exit 1
}

api=http://127.0.0.1:$base
json='Content-Type: application/json'
call() { curl -sf -o /dev/null -H "$json" ${KEY:+-H "Authorization: Bearer $KEY"} "$@"; }
KEY=
started=$(date +%s%N)
start slipway "$base" "$slipway" serve --data "$work/data" --urls "$api" --grpc-urls "http://127.0.0.1:$((base + 4))"
until curl -sf -o /dev/null "$api/readyz"; do sleep 0.02; done
echo "cold start to ready: $((($(date +%s%N) - started) / 1000000)) ms"
call -d '{"name":"bench","roles":["owner"]}' "$api/api/v1/users"
KEY=$(curl -sf -H "$json" -d '{"owner":"bench","name":"bench","roles":["owner"]}' "$api/api/v1/tokens" | sed 's/.*"\(slp_[^"]*\)".*/\1/')
export KEY

endpoint() { # model: registers it and serves it under its name
  local run
  run=$(curl -sf -H "$json" -H "Authorization: Bearer $KEY" -d '{"experiment_id":"0","start_time":1}' "$api/api/2.0/mlflow/runs/create" | sed 's/.*"run_id": *"\([0-9a-f]*\)".*/\1/')
  call -T "$models/$1.onnx" "$api/api/2.0/mlflow-artifacts/artifacts/0/$run/artifacts/model/model.onnx"
  call -d "{\"name\":\"$1\"}" "$api/api/2.0/mlflow/registered-models/create"
  call -d "{\"name\":\"$1\",\"source\":\"mlflow-artifacts:/0/$run/artifacts/model\",\"run_id\":\"$run\"}" "$api/api/2.0/mlflow/model-versions/create"
  call -d "{\"name\":\"$1\",\"modelVersion\":\"$1/1\"}" "$api/api/v1/endpoints"
}

cpu() { awk '{print $14 + $15}' "/proc/$1/stat"; }
allocated() { curl -sf -H "Authorization: Bearer $KEY" "$api/metrics" | awk '/^dotnet_gc_heap_total_allocated_bytes_total/{printf "%.0f", $2}'; }

measure() { # label pid url body json-length connections
  export BODY=$4 JSON_LENGTH=$5
  # The first run lets the compiler finish and is not counted.
  wrk -t1 -c"$6" -d3s -s bench/post.lua "$3" >/dev/null
  local before after bytes=0
  [ "$2" = "$pid_slipway" ] && bytes=$(allocated)
  before=$(cpu "$2")
  $quiet wrk -t1 -c"$6" -d"${seconds}s" --latency -s bench/post.lua "$3" >"$work/wrk.txt"
  after=$(cpu "$2")
  [ "$2" = "$pid_slipway" ] && bytes=$(($(allocated) - bytes))
  awk -v l="$1" -v c="$6" -v cpu=$((after - before)) -v bytes="$bytes" '
    /50%/{p=$2} /99%/{q=$2} /Requests\/sec/{r=$2} /requests in/{n=$1} /Non-2xx/{e="  NOT 200: " $NF}
    END{printf "%-34s %2d  %8.0f /s  p50 %8s  p99 %8s  cpu %6.1f us  %6s B%s\n", l, c, r, p, q, cpu * 10000 / n, (bytes ? sprintf("%.0f", bytes / n) : "-"), e}' "$work/wrk.txt"
}

body() { # model rows: writes $work/MODEL.ROWS.json and .bin, sets binary_length
  binary_length=$("$bench" body "$models/$1.onnx" "$2" "$work/$1.$2")
}

compare() { # model rows connections
  local model=$1 rows=$2 connections=$3 port
  body "$model" "$rows"
  local length=$binary_length
  [ -e "$work/served.$model" ] || { endpoint "$model"; touch "$work/served.$model"; }
  echo "-- $model, $rows row(s); ONNX Runtime alone, two callers: $($quiet "$bench" ort "$models/$model.onnx" "$work/$model.$rows.json" 2) runs/s"
  measure "empty handler" "$pid_empty" "http://127.0.0.1:$((base + 1))/" "$work/$model.$rows.json" "" "$connections"
  measure "slipway JSON" "$pid_slipway" "$api/v2/models/$model/infer" "$work/$model.$rows.json" "" "$connections"
  measure "empty handler, binary body" "$pid_empty" "http://127.0.0.1:$((base + 1))/" "$work/$model.$rows.bin" "" "$connections"
  measure "slipway binary" "$pid_slipway" "$api/v2/models/$model/infer" "$work/$model.$rows.bin" "$length" "$connections"
  start naive $((base + 2)) "$bench" naive "http://127.0.0.1:$((base + 2))" "$models/$model.onnx"
  measure "naive server" "$pid_naive" "http://127.0.0.1:$((base + 2))/infer" "$work/$model.$rows.json" "" "$connections"
  kill "$pid_naive"; wait "$pid_naive" 2>/dev/null || true
  if [ -d "${NODE_FOLDER:-/nowhere}/node_modules/onnxruntime-node" ]; then
    (cd "$NODE_FOLDER" && exec node "$OLDPWD/bench/node-server.js" $((base + 3)) "$(realpath "$OLDPWD/$models" 2>/dev/null || realpath "$models")/$model.onnx") >"$work/node.log" 2>&1 &
    local node=$!; pids+=("$node"); sleep 1
    measure "onnxruntime-node" "$node" "http://127.0.0.1:$((base + 3))/" "$work/$model.$rows.json" "" "$connections" || true
    kill "$node" 2>/dev/null || true; wait "$node" 2>/dev/null || true
  fi
}

half() { # model: p99 where the server has half as much to do as it can, beside the empty handler at the same pace
  local model=$1
  body "$model" 1
  local length=$binary_length rate
  [ -e "$work/served.$model" ] || { endpoint "$model"; touch "$work/served.$model"; }
  BODY=$work/$model.1.json JSON_LENGTH= wrk -t1 -c64 -d3s -s bench/post.lua "$api/v2/models/$model/infer" >/dev/null
  rate=$(BODY=$work/$model.1.json JSON_LENGTH= wrk -t1 -c64 -d3s -s bench/post.lua "$api/v2/models/$model/infer" | awk '/Requests\/sec/{print $2}')
  export PAUSE
  PAUSE=$(awk -v r="$rate" 'BEGIN{p = 64000 / (r / 2); printf "%d", p < 1 ? 1 : p + .5}')
  echo "-- $model at half load: at most $rate /s, so each of 64 connections pauses $PAUSE ms on average"
  measure "empty handler" "$pid_empty" "http://127.0.0.1:$((base + 1))/" "$work/$model.1.json" "" 64
  measure "slipway JSON" "$pid_slipway" "$api/v2/models/$model/infer" "$work/$model.1.json" "" 64
  measure "empty handler, binary body" "$pid_empty" "http://127.0.0.1:$((base + 1))/" "$work/$model.1.bin" "" 64
  measure "slipway binary" "$pid_slipway" "$api/v2/models/$model/infer" "$work/$model.1.bin" "$length" 64
  unset PAUSE
}

start empty $((base + 1)) "$bench" empty "http://127.0.0.1:$((base + 1))"
for name in ${@:-tiny idle half trees cnn mlp}; do
  case $name in
    tiny) compare iris_logreg 1 64 ;;
    idle) compare iris_logreg 1 1 ;;
    half) half iris_logreg ;;
    trees) for model in wine_gbt100 diabetes_xgb500; do [ ! -e "$models/$model.onnx" ] || compare "$model" 1 64; done ;;
    cnn) [ ! -e "$models/digits_cnn.onnx" ] || compare digits_cnn 1 64 ;;
    mlp) compare digits_mlp 32 64 ;;
    *) echo "error: there is no case $name" >&2; exit 2 ;;
  esac
done
echo "memory of the server: $(($(awk '/VmRSS/{print $2}' "/proc/$pid_slipway/status") / 1024)) MB"
curl -sf -H "Authorization: Bearer $KEY" "$api/metrics" | grep -E '^slipway_predictions_(written|dropped)' || true
