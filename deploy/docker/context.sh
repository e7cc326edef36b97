#!/usr/bin/env bash
# Lays out what the image is built from: context.sh BINARY DIRECTORY. The directory must not exist yet.
set -euo pipefail
binary=$1 context=$2
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
authorities=/etc/ssl/certs/ca-certificates.crt

[ -x "$binary" ] || { echo "there is no binary at $binary: run make build" >&2; exit 1; }
[ -r "$authorities" ] || { echo "$authorities is missing: install the package ca-certificates" >&2; exit 1; }

umask 022
mkdir -p "$(dirname "$context")"
mkdir "$context"
root=$context/root
install -D -m 644 "$here/Dockerfile" "$context/Dockerfile"

mkdir -p "$root/usr/bin"
strip --strip-debug -o "$root/usr/bin/sealdex" "$binary"
chmod 755 "$root/usr/bin/sealdex"

# Each library, the loader included, where the loader looks for it: under the path that it has here.
libraries=$(ldd "$binary")
if grep 'not found' <<<"$libraries" >&2; then exit 1; fi
for library in $(grep -o '/[^ ]*' <<<"$libraries"); do
    install -D -m 755 "$library" "$root$library"
done

install -D -m 644 "$authorities" "$root$authorities"
# Names are looked up as elsewhere; the C library would otherwise leave /etc/hosts for last.
install -d "$root/etc"
echo 'hosts: files dns' >"$root/etc/nsswitch.conf"
install -d -m 1777 "$root/tmp"
install -d -m 770 "$context/owned/data"
