#!/usr/bin/env bash
# The registry under the MLflow protocol, on SQLite and on a PostgreSQL of its own: requests a second on eight connections with
# everything on, what was acknowledged read back, and the ratio to MLflow 3.11's own server on the same kind of machine.
# Usage: bench/registry.sh [SECONDS [SCENARIO …]]      Needs a built slipway; PostgreSQL's programs for the second half.
set -euo pipefail
cd "$(dirname "$0")/.."
slipway=artifacts/bin/Slipway.Cli/release/slipway
bench=artifacts/bin/Slipway.Benchmarks/release/Slipway.Benchmarks
seconds=${1:-5}
shift || true
work=$(mktemp -d)
server=
pg=$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -V | tail -1 || true)
as=()
[ "$(id -u)" = 0 ] && as=(runuser -u postgres --)
finish() {
  [ -z "$server" ] || { kill "$server" 2>/dev/null && wait "$server" 2>/dev/null || true; }
  [ ! -d "$work/pg/data" ] || "${as[@]}" "$pg/pg_ctl" -D "$work/pg/data" -m immediate -w stop >/dev/null 2>&1 || true
  rm -rf "$work"
}
trap finish EXIT

run() { # ENGINE PORT [serve options]
  local engine=$1 port=$2
  shift 2
  "$slipway" serve --data "$work/$engine" --urls "http://127.0.0.1:$port" "$@" >"$work/$engine.log" 2>&1 &
  server=$!
  until curl -sf -o /dev/null "http://127.0.0.1:$port/readyz"; do sleep 0.1; done
  "$bench" registry "http://127.0.0.1:$port" "$engine" "$seconds" "$server" "${scenarios[@]}"
  kill "$server" && wait "$server" || true
  server=
}

scenarios=("$@")
echo "| engine | scenario | requests/s | p50 ms | p99 ms | server CPU ms/request | times MLflow 3.11 |"
echo "|---|---|---|---|---|---|---|"
run sqlite 5691
[ -n "$pg" ] || { echo "PostgreSQL is not installed: only SQLite was measured" >&2; exit 0; }
mkdir "$work/pg"
chmod 755 "$work"
[ ${#as[@]} = 0 ] || chown postgres "$work/pg"
"${as[@]}" "$pg/initdb" -D "$work/pg/data" -U slipway -A trust -E UTF8 --locale=C >/dev/null
"${as[@]}" "$pg/pg_ctl" -D "$work/pg/data" -w -l "$work/pg/log" -o "-p 5692 -c listen_addresses=127.0.0.1 -c unix_socket_directories=" start >/dev/null
run postgres 5693 --postgres "Host=127.0.0.1;Port=5692;Username=slipway;Database=postgres"
