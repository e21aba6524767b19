#!/usr/bin/env bash
# A private Postgres for tests, on loopback and a free port, with its data in one folder.
#
#   postgres.sh start DIR      starts it, again if it was stopped, and prints its URL
#   postgres.sh stop DIR       stops it as a power cut would; everything committed stays
#   postgres.sh run DIR        start, then wait until standard input ends, then stop and remove DIR
#
# `run` is for a test process that keeps the other end of the pipe: the server ends with it, however it ends.
set -euo pipefail

usage() {
  echo "usage: $0 start|stop|run DIR" >&2
  exit 2
}
fail() {
  echo "postgres.sh: $*" >&2
  exit 1
}

[ $# -eq 2 ] || usage
command=$1
mkdir -p "$2"
dir=$(cd "$2" && pwd)
data=$dir/data

newest() {
  local found
  found=$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -t/ -k5 -n | tail -n 1)
  if [ -z "$found" ] && command -v pg_ctl >/dev/null; then
    found=$(dirname "$(command -v pg_ctl)")
  fi
  [ -x "$found/initdb" ] && [ -x "$found/pg_ctl" ] ||
    fail "no Postgres server found in /usr/lib/postgresql/*/bin or PATH: install it (apt-get install postgresql)"
  echo "$found"
}

# Postgres refuses to run as root.
if [ "$(id -u)" -eq 0 ]; then
  owner=postgres
  id "$owner" >/dev/null 2>&1 || owner=nobody
  unprivileged() { runuser -u "$owner" -- env -C "$dir" "$@"; }
  chown "$owner" "$dir"
  unprivileged true 2>/dev/null || fail "user $owner cannot enter $dir: every folder above it needs its x for others"
else
  unprivileged() { env -C "$dir" "$@"; }
fi

free_port() {
  local port
  for _ in $(seq 100); do
    # Below the ports that the system gives to outgoing connections.
    port=$((20000 + RANDOM % 12000))
    (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || { echo "$port"; return; }
  done
  fail "no free port between 20000 and 32000"
}

launch() { # PORT
  # `-k` puts the socket beside the data: nothing lies outside of the folder.
  unprivileged "$bin/pg_ctl" -D "$data" -l "$dir/log" -w -t 60 -s \
    -o "-p $1 -k $dir -c listen_addresses=127.0.0.1 -c max_connections=200" start </dev/null >>"$dir/pg_ctl.log" 2>&1
}

start() {
  if [ ! -f "$data/PG_VERSION" ]; then
    unprivileged "$bin/initdb" -D "$data" -U postgres -A trust -E UTF8 --no-locale >"$dir/initdb.log" 2>&1 ||
      fail "initdb failed: $(tail -n 5 "$dir/initdb.log")"
  fi
  if [ -f "$dir/port" ]; then
    launch "$(cat "$dir/port")" || fail "it does not start again: $(tail -n 5 "$dir/log")"
  else
    local port tries=0
    until port=$(free_port) && launch "$port"; do
      # Somebody else may have taken the port between the look and the start.
      tries=$((tries + 1))
      [ "$tries" -lt 5 ] || fail "it does not start: $(tail -n 5 "$dir/log")"
    done
    echo "$port" >"$dir/port"
  fi
  echo "postgres://postgres@127.0.0.1:$(cat "$dir/port")/postgres"
}

stop() {
  [ ! -f "$data/postmaster.pid" ] || unprivileged "$bin/pg_ctl" -D "$data" -m immediate -w -s stop
}

bin=$(newest)
case $command in
  start) start ;;
  stop) stop ;;
  run)
    trap 'stop; rm -rf "$dir"' EXIT
    start
    cat >/dev/null
    ;;
  *) usage ;;
esac
