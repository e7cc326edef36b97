#!/usr/bin/env bash
# The deployment of docker-compose.yml. Every command can be repeated.
#
#   deployment.sh up                      starts it, or what is missing of it, and waits until it is ready
#   deployment.sh down                    takes it away with its data and its keys
#   deployment.sh status                  says how it is, as the first coordinator that answers knows it
#   deployment.sh roll                    makes one node after another anew, from the image that there is now
#   deployment.sh discard NODE            takes a node away with its disk; `up` gives it an empty one
#   deployment.sh certificate ROLE NODE   makes a node's certificate, or a new one in its place
#   deployment.sh compose ...             the compose command, for this deployment
#
# SEALDEX_PROJECT is its name, SEALDEX_RUN_DIR the folder for its certificates and keys: with other values there is another one.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

shards=(shard-1 shard-2 shard-3)
coordinators=(coordinator-1 coordinator-2 coordinator-3)
ready_within_seconds=180
project=${SEALDEX_PROJECT:-sealdex}
image=${SEALDEX_IMAGE:-sealdex:latest}
# Absolute, because compose takes it as relative to its file and Docker to nothing.
run=${SEALDEX_RUN_DIR:-$PWD/run}
export SEALDEX_RUN_DIR=$run
# Containers run as whoever owns the folder, but never as root.
owner=$(id -u)
[ "$owner" != 0 ] || owner=10001
export SEALDEX_UID=$owner

compose() {
    local command=${COMPOSE:-docker-compose}
    [ -n "${COMPOSE:-}" ] || ! docker compose version >/dev/null 2>&1 || command="docker compose"
    $command -p "$project" -f docker-compose.yml "$@"
}

random() {
    head -c 32 /dev/urandom | od -An -v -tx1 | tr -d ' \n'
}

# The binary of the image, on the folder of the authority.
certs() {
    local folder=$1
    shift
    docker run --rm --network none --read-only --user "$(id -u):0" --volume "$folder:/folder" "$image" \
        certs "$@" --dir /folder/authority >/dev/null
}

# A certificate for a node, in a folder with nothing else in it but the authority's. Coordinators are NODE.peers to others.
certificate() {
    local folder=$1 role=$2 node=$3 own=$1/certs/$3
    umask 077
    certs "$folder" node --role "$role" --name "$node" --dns "$node.peers"
    mkdir -p "$own"
    [ "$(id -u)" != 0 ] || chown "$owner:0" "$folder/authority/$node".{crt,key}
    cp "$folder/authority/ca.crt" "$own/"
    mv "$folder/authority/$node.key" "$folder/authority/$node.crt" "$own/"
    [ "$(id -u)" != 0 ] || chown -R "$owner:0" "$own"
}

# Everything that is secret, where Git does not look and other users do not come in.
prepare() {
    [ ! -e "$run" ] || return 0
    local node new=$run.new
    umask 077
    rm -rf "$new"
    mkdir -p "$new/certs"
    certs "$new" init
    for node in "${coordinators[@]}"; do certificate "$new" coordinator "$node"; done
    for node in "${shards[@]}"; do certificate "$new" shard "$node"; done
    random >"$new/join-token"
    random >"$new/root-key"
    cat >"$new/sealdex.yaml" <<YAML
# Configuration of the three coordinators; deploy/example.yaml says what else can stand here.
service:
  SEALDEX_ROOT_KEY: $(cat "$new/root-key")
YAML
    [ "$(id -u)" != 0 ] || chown -R "$owner:0" "$new/certs" "$new/join-token" "$new/sealdex.yaml"
    mv "$new" "$run"
}

not_ready() {
    local ready
    ready=$(docker ps --filter "label=com.docker.compose.project=$project" --filter health=healthy \
        --format '{{.Label "com.docker.compose.service"}}')
    printf '%s\n' "${shards[@]}" "${coordinators[@]}" | grep -vxF "$ready" || true
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
    echo "    API key  the root key, in $run/root-key"
    echo "    stop     make down"
}

# Nothing stays, so nothing is handed over. What others have put beside it goes too: nodes that joined, networks that they were on.
down() {
    local label=label=com.docker.compose.project=$project
    # Networks do not go while anybody is on them, nor volumes while anybody uses them.
    docker ps -aq --filter "$label" | xargs -r docker rm -fv >/dev/null
    compose down --volumes --remove-orphans --timeout 0
    docker network ls -q --filter "$label" | xargs -r docker network rm >/dev/null
    docker volume ls -q --filter "$label" | xargs -r docker volume rm >/dev/null
    rm -rf "$run" "$run.new"
}

# By the binary of the image, on the clients' network.
status() {
    local coordinator
    SEALDEX_ROOT_KEY=$(cat "$run/root-key")
    export SEALDEX_ROOT_KEY
    for coordinator in "${coordinators[@]}"; do
        docker run --rm --network "${project}_clients" --read-only --env SEALDEX_ROOT_KEY "$image" \
            status --url "http://$coordinator:8000" && return
    done
    return 1
}

roll() {
    local node
    for node in "${shards[@]}" "${coordinators[@]}"; do
        compose up -d --no-deps --force-recreate "$node"
        wait_until_ready
    done
}

discard() {
    compose rm --stop --force "$1"
    docker volume rm "${project}_$1"
}

usage() {
    sed -n 's/^#   //p' "$PWD/$(basename "${BASH_SOURCE[0]}")" >&2
    exit 2
}

case ${1:-}:$# in
up:1 | down:1 | status:1 | roll:1) "$1" ;;
discard:2) discard "$2" ;;
certificate:3) certificate "$run" "$2" "$3" ;;
compose:*) "$@" ;;
*) usage ;;
esac
