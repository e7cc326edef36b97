#!/usr/bin/env bash
# Starts the deployment of docker-compose.yml and waits until it is ready, or takes it away: deployment.sh up|down.
# COMPOSE says which compose to call, SEALDEX the binary that makes certificates. Both can be repeated.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

coordinators=(coordinator-1 coordinator-2 coordinator-3)
shards=(shard-1 shard-2 shard-3)
ready_within_seconds=180
sealdex=${SEALDEX:-sealdex}
# Containers run as whoever owns run/, but never as root.
owner=$(id -u)
[ "$owner" != 0 ] || owner=10001
export SEALDEX_UID=$owner

compose() {
    ${COMPOSE:-docker compose} -p sealdex -f docker-compose.yml "$@"
}

random() {
    head -c 32 /dev/urandom | od -An -v -tx1 | tr -d ' \n'
}

# A certificate for a node, in a folder with nothing else in it but the authority's.
certificate() {
    local role=$1 node=$2
    "$sealdex" certs node --dir run.new/authority --role "$role" --name "$node"
    mkdir "run.new/certs/$node"
    mv "run.new/authority/$node.crt" "run.new/authority/$node.key" "run.new/certs/$node/"
    cp run.new/authority/ca.crt "run.new/certs/$node/"
}

# Everything that is secret, in run/, where Git does not look and other users do not come in.
prepare() {
    [ ! -e run ] || return 0
    local node
    umask 077
    rm -rf run.new
    mkdir -p run.new/certs
    "$sealdex" certs init --dir run.new/authority
    for node in "${coordinators[@]}"; do certificate coordinator "$node"; done
    for node in "${shards[@]}"; do certificate shard "$node"; done
    random >run.new/join-token
    random >run.new/root-key
    cat >run.new/sealdex.yaml <<YAML
# Configuration of the three coordinators; deploy/example.yaml says what else can stand here.
service:
  SEALDEX_ROOT_KEY: $(cat run.new/root-key)
YAML
    [ "$(id -u)" != 0 ] || chown -R "$owner:0" run.new/certs run.new/join-token run.new/sealdex.yaml
    mv run.new run
}

not_ready() {
    local ready
    ready=$(docker ps --filter label=com.docker.compose.project=sealdex --filter health=healthy \
        --format '{{.Label "com.docker.compose.service"}}')
    printf '%s\n' "${coordinators[@]}" "${shards[@]}" | grep -vxF "$ready" || true
}

wait_until_ready() {
    local deadline=$((SECONDS + ready_within_seconds)) waiting
    while waiting=$(not_ready) && [ -n "$waiting" ]; do
        if ((SECONDS > deadline)); then
            echo "not ready after $ready_within_seconds s: ${waiting//$'\n'/ }; the end of their logs:" >&2
            compose logs --tail 20 $waiting >&2
            return 1
        fi
        sleep 1
    done
}

up() {
    prepare
    compose up -d
    wait_until_ready
    echo
    echo "  three coordinators and three shard nodes are ready"
    for coordinator in "${coordinators[@]}"; do
        echo "    REST     http://$(compose port "$coordinator" 8000)/v1"
    done
    echo "    API key  the root key, in $PWD/run/root-key"
    echo "    stop     make down"
}

down() {
    compose down --volumes --remove-orphans --timeout 40
    rm -rf run run.new
}

case ${1:-} in
up) up ;;
down) down ;;
*)
    echo "usage: deployment.sh up|down" >&2
    exit 2
    ;;
esac
