#!/usr/bin/env bash
# Certificates to try the TLS examples with; for production take them from your own authority.
#
#     examples/certificates.sh /etc/arom/tls localhost
#
# The folder then has
#     server.pem, server.key       the server's, for the host name; server-with-key.pem has both, for HAProxy
#     caller.pem, caller.key       those of a caller
#     callers-ca.pem               the authority that signed both: callers trust it, and the proxy asks for its certificates
#
# A caller, in Python. nginx/tls.conf and haproxy/tls.cfg listen on port 8443:
#     read = lambda name: open(f"/etc/arom/tls/{name}", "rb").read()
#     credentials = grpc.ssl_channel_credentials(read("callers-ca.pem"), read("caller.key"), read("caller.pem"))
#     channel = grpc.secure_channel("localhost:8443", credentials)
# A caller without a certificate gets UNAVAILABLE from HAProxy, which ends the handshake, and INTERNAL from nginx, which answers 400.
set -euo pipefail
umask 077
folder=$1 host=$2
mkdir -p "$folder"
cd "$folder"
openssl req -x509 -newkey rsa:2048 -nodes -days 365 -subj "/CN=Arom trial" -keyout callers-ca.key -out callers-ca.pem 2>/dev/null
sign() {
  openssl req -newkey rsa:2048 -nodes -subj "/CN=$2" -keyout "$1.key" -out "$1.csr" 2>/dev/null
  openssl x509 -req -in "$1.csr" -CA callers-ca.pem -CAkey callers-ca.key -CAcreateserial -days 365 -out "$1.pem" \
    -extfile <(printf 'subjectAltName=DNS:%s\n' "$2") 2>/dev/null
  rm "$1.csr"
}
sign server "$host"
sign caller caller
cat server.pem server.key > server-with-key.pem
