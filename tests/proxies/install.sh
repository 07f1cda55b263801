#!/usr/bin/env bash
# Installs nginx and HAProxy from Debian, unless they are there.
set -euo pipefail
missing=()
for name in nginx haproxy; do command -v "$name" > /dev/null || [ -x "/usr/sbin/$name" ] || missing+=("$name"); done
[ ${#missing[@]} -eq 0 ] && exit 0
# Installing must not start a service on port 80.
printf '#!/bin/sh\nexit 101\n' > /usr/sbin/policy-rc.d && chmod +x /usr/sbin/policy-rc.d
trap 'rm -f /usr/sbin/policy-rc.d' EXIT
apt-get update -qq
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" > /dev/null
