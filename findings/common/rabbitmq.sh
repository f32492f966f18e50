# Sourced by the findings about RabbitMQ: starts Debian's broker for one script, on loopback, with all its files in
# $folder, and ends it with the script. Sets $amqp_port.
# shellcheck shell=bash

start_rabbitmq() {
  local programs ports
  programs=$(ls -d /usr/lib/rabbitmq/lib/rabbitmq_server-*/sbin 2>/dev/null | tail -n 1)
  if [[ -z $programs ]] || ! command -v epmd setpriv > /dev/null; then
    echo "skipped: RabbitMQ is not installed (Debian package rabbitmq-server)"
    exit 0
  fi
  mapfile -t ports < <("${PYTHON:-python3}" -c 'import socket
for server in [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]:
    print(server.getsockname()[1])')
  amqp_port=${ports[0]}
  mkdir "$folder/rabbitmq"
  echo "listeners.tcp.1 = 127.0.0.1:$amqp_port" > "$folder/rabbitmq/rabbitmq.conf"
  echo "log.console = true" >> "$folder/rabbitmq/rabbitmq.conf"
  echo "[]." > "$folder/rabbitmq/plugins"
  touch "$folder/rabbitmq/env"
  trap stop_rabbitmq EXIT
  setpriv --pdeathsig KILL epmd -port "${ports[1]}" -address 127.0.0.1 &
  epmd=$!
  env -i PATH="$PATH" LC_ALL=C.UTF-8 HOME="$folder/rabbitmq" ERL_EPMD_PORT="${ports[1]}" RABBITMQ_DIST_PORT="${ports[2]}" \
    RABBITMQ_NODENAME=rabbit@127.0.0.1 RABBITMQ_USE_LONGNAME=true RABBITMQ_CONF_ENV_FILE="$folder/rabbitmq/env" \
    RABBITMQ_MNESIA_BASE="$folder/rabbitmq" RABBITMQ_LOG_BASE="$folder/rabbitmq" \
    RABBITMQ_CONFIG_FILE="$folder/rabbitmq/rabbitmq.conf" RABBITMQ_ENABLED_PLUGINS_FILE="$folder/rabbitmq/plugins" \
    RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS="-start_epmd false -kernel inet_dist_use_interface {127,0,0,1}" \
    RUNNING_UNDER_SYSTEMD=1 setpriv --pdeathsig KILL "$programs/rabbitmq-server" > "$folder/rabbitmq/log" 2>&1 &
  broker=$!
  for _ in $(seq 900); do
    grep -q "Server startup complete" "$folder/rabbitmq/log" && break
    sleep 0.1
  done
  grep -m 1 -Eo "RabbitMQ [0-9.]+ on Erlang [0-9]+" "$folder/rabbitmq/log"
}

stop_rabbitmq() {
  kill -s KILL "${broker:-}" "${epmd:-}" 2>/dev/null || true
  { wait; } 2>/dev/null
  rm -rf "$folder"
}
