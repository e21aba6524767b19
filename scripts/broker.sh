#!/bin/bash
# A private RabbitMQ for tests: loopback only, free ports, one folder, no systemd, no root needed.
#
#   broker.sh start DIR      starts it and prints its AMQP url
#   broker.sh stop DIR       stops it, by its own pid file
#   broker.sh run DIR        starts it, prints its url, waits for the end of standard input, stops it, removes DIR:
#                            whoever holds the pipe takes the broker along when it dies, however it dies
#   broker.sh ctl DIR ARGS…  rabbitmqctl against it, `ctl DIR close_all_connections test` for instance
set -eu

usage() { sed -n '2,9p' "$0" | cut -c3- >&2; exit 2; }
[ $# -ge 2 ] || usage
command=$1 dir=$2
shift 2

# The scripts themselves: those in /usr/sbin change user and folder.
bin=${RABBITMQ_BIN:-/usr/lib/rabbitmq/bin}
if [ ! -x "$bin/rabbitmq-server" ]; then
  echo "rabbitmq-server is not in $bin; install it (apt-get install rabbitmq-server) or set RABBITMQ_BIN" >&2
  exit 1
fi

# Three free ports below the range that the system gives to outgoing connections.
choose_ports() {
  local chosen=() port
  while [ ${#chosen[@]} -lt 3 ]; do
    port=$((20000 + (RANDOM * 32768 + RANDOM) % 12000))
    [[ " ${chosen[*]-} " == *" $port "* ]] && continue
    (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null && continue
    chosen+=("$port")
  done
  echo "amqp=${chosen[0]} dist=${chosen[1]} epmd=${chosen[2]}"
}

# Everything of the broker lies in its folder, its cookie too (in HOME: server and ctl must share it), and nothing is
# read from /etc. Without the kernel setting the distribution port would listen on all interfaces.
surroundings() {
  local amqp dist epmd
  eval "$(cat "$dir/ports")"
  export HOME=$dir RABBITMQ_NODENAME=leveret$amqp@localhost
  export RABBITMQ_CONF_ENV_FILE=$dir/env.conf RABBITMQ_CONFIG_FILE=$dir/rabbitmq.conf
  export RABBITMQ_ADVANCED_CONFIG_FILE=$dir/advanced.config RABBITMQ_CONFIG_FILES=$dir/conf.d
  export RABBITMQ_MNESIA_BASE=$dir/mnesia RABBITMQ_LOG_BASE=$dir/log RABBITMQ_SCHEMA_DIR=$dir/schema
  export RABBITMQ_GENERATED_CONFIG_DIR=$dir/schema RABBITMQ_PID_FILE=$dir/pid
  export RABBITMQ_ENABLED_PLUGINS_FILE=$dir/enabled_plugins
  export RABBITMQ_NODE_IP_ADDRESS=127.0.0.1 RABBITMQ_NODE_PORT=$amqp RABBITMQ_DIST_PORT=$dist
  export ERL_EPMD_PORT=$epmd ERL_EPMD_ADDRESS=127.0.0.1
  export RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS="-kernel inet_dist_use_interface {127,0,0,1}"
  export RABBITMQ_CTL_ERL_ARGS="-kernel inet_dist_use_interface {127,0,0,1}"
  url="amqp://guest:guest@127.0.0.1:$amqp/%2f"
}

configure() {
  mkdir -p "$dir"/{mnesia,log,schema,conf.d}
  dir=$(cd "$dir" && pwd)
  choose_ports > "$dir/ports"
  surroundings
  if [ ! -f "$dir/.erlang.cookie" ]; then
    (umask 077; head -c 20 /dev/urandom | od -An -tx1 | tr -d ' \n' > "$dir/.erlang.cookie")
    chmod 400 "$dir/.erlang.cookie"
  fi
  : > "$dir/env.conf"
  echo "[]." > "$dir/enabled_plugins"
  rm -f "$dir/pid"
  # A small write-ahead log: the default of 512 MB only costs memory here.
  cat > "$dir/rabbitmq.conf" <<CONF
listeners.tcp.local = 127.0.0.1:$RABBITMQ_NODE_PORT
loopback_users.guest = true
vm_memory_high_watermark.absolute = 2GB
disk_free_limit.absolute = 200MB
raft.wal_max_size_bytes = 67108864
log.console = false
log.file.level = warning
CONF
}

# Ports may be taken between choosing and listening, so a failed start is tried again with others.
start() {
  for _ in 1 2 3; do
    configure
    # In its folder, since what Mnesia dumps when it is stopped too early goes where the server was started.
    (cd "$dir" && exec setsid "$bin/rabbitmq-server" > "$dir/log/stdout" 2> "$dir/log/stderr" < /dev/null) &
    local server=$!
    while kill -0 "$server" 2>/dev/null; do
      (exec 3<>"/dev/tcp/127.0.0.1/$RABBITMQ_NODE_PORT") 2>/dev/null && break
      sleep 0.1
    done
    if "$bin/rabbitmqctl" -q await_startup --timeout 60 2>> "$dir/log/stderr"; then
      return 0
    fi
    kill "$server" 2>/dev/null || true
  done
  echo "rabbitmq did not start; its last words:" >&2
  tail -n 20 "$dir/log/stdout" "$dir/log/stderr" >&2
  exit 1
}

stop() {
  "$bin/rabbitmqctl" -q stop "$dir/pid" > /dev/null 2>&1 || true
  epmd -port "$ERL_EPMD_PORT" -kill > /dev/null 2>&1 || true
}

case $command in
start) start; echo "$url" ;;
stop)  surroundings; stop ;;
run)
  start
  echo "$url"
  exec > /dev/null
  trap '' INT TERM HUP
  cat > /dev/null || true
  stop
  rm -rf "$dir"
  ;;
ctl)   surroundings; exec "$bin/rabbitmqctl" -q "$@" ;;
*)     usage ;;
esac
