#!/usr/bin/env bash
# Pays a file of 20,000 payouts with four workers, two of which are killed during the run, at an emulated
# provider with faults, and prints the counts of both sides. COUNT=200 makes a short run.
#
# It needs Python 3.11 or newer and the programs of a PostgreSQL server (initdb, pg_ctl), or the address
# of a running server in SMARTGLOCAL_JOURNAL, in which a schema night_... remains. Everything else that
# it starts and writes is removed at the end, except the .venv of the checkout, created if missing.
set -euo pipefail

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)"
python="${PYTHON:-$root/.venv/bin/python}"
journal="${SMARTGLOCAL_JOURNAL:-}"
count="${COUNT:-20000}"
case "$count" in
  *[!0-9]* | 0*)
    echo "COUNT=$count: expected a whole number above zero" >&2
    exit 2
    ;;
esac
folder="$(mktemp -d)"
programs=""

# PostgreSQL can't be run by root.
as_owner() {
  if [ "$(id -u)" = 0 ]; then
    (cd / && runuser -u postgres -- "$@")
  else
    "$@"
  fi
}

clean() {
  if [ -n "$programs" ]; then
    as_owner "$programs/pg_ctl" -D "$folder/data" -m immediate -w stop >/dev/null 2>&1 || true
  fi
  rm -rf "$folder"
}
trap clean EXIT

if [ -z "${PYTHON:-}" ] && ! "$python" -c "import asyncpg, pgqueuer, rich, typer" 2>/dev/null; then
  echo "Installing the package into $root/.venv"
  [ -x "$python" ] || python3 -m venv "$root/.venv"
  "$python" -m pip install -qq --editable "$root[cli,cluster]"
fi

if [ -z "$journal" ]; then
  # Debian doesn't put them on the path. Sorted by version number, the last one is the newest.
  found="$(command -v pg_ctl || { ls -d /usr/lib/postgresql/*/bin/pg_ctl 2>/dev/null || true; } | sort -V | tail -n 1)"
  if [ -z "$found" ]; then
    echo "No PostgreSQL: install one (initdb and pg_ctl), or set SMARTGLOCAL_JOURNAL=postgres://..." >&2
    exit 2
  fi
  programs="$(dirname "$found")"
  port="$("$python" -c "import socket; s = socket.socket(); s.bind(('127.0.0.1', 0)); print(s.getsockname()[1])")"
  echo "Starting PostgreSQL on port $port"
  if [ "$(id -u)" = 0 ]; then chown postgres "$folder"; fi
  as_owner "$programs/initdb" -D "$folder/data" -U payer -A trust -E UTF8 --no-locale >"$folder/initdb.log"
  as_owner "$programs/pg_ctl" -D "$folder/data" -l "$folder/server.log" -w \
    -o "-c port=$port -c listen_addresses=127.0.0.1 -c unix_socket_directories=''" start >/dev/null
  journal="postgres://payer@127.0.0.1:$port/postgres"
fi

PYTHONPATH="$root" "$python" "$root/examples/cluster/night.py" --count "$count" --journal "$journal"
