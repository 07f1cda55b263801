"""A receiver for the webhook of `arom serve`: checks the signature, and keeps the newest profile of each subject.

    python webhook.py 8099 SECRET_FILE
    arom serve --profile-store profiles --sink-webhook-url http://127.0.0.1:8099/ --sink-webhook-secret-file SECRET_FILE

It needs no packages. What it keeps is in memory: a real receiver writes to its database, and answers 2xx after the commit.
"""

import base64
import hashlib
import hmac
import http.server
import json
import pathlib
import sys
import time

# A request that is older was perhaps recorded by somebody and sent again. Arom signs each attempt anew.
TOLERANCE_SECONDS = 300


def key(secret_file: str) -> bytes:
    secret = pathlib.Path(secret_file).read_bytes().strip()
    return base64.b64decode(secret.removeprefix(b"whsec_")) if secret.startswith(b"whsec_") else secret


def is_signed(secret: bytes, headers, body: bytes) -> bool:
    """Whether Arom sent this body, within the last minutes."""
    batch, moment = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    if not moment.isdigit() or abs(time.time() - int(moment)) > TOLERANCE_SECONDS:
        return False
    # The bytes as they came: JSON that was read and written again has another signature.
    signed = f"{batch}.{moment}.".encode() + body
    expected = base64.b64encode(hmac.new(secret, signed, hashlib.sha256).digest()).decode()
    # The header is a list of signatures with spaces between.
    given = headers.get("webhook-signature", "").split()
    return any(hmac.compare_digest(f"v1,{expected}", one) for one in given)


class Profiles:
    """The newest profile of each subject, and the newest signal of each kind, of each source."""

    def __init__(self):
        self.profiles, self.signals = {}, {}

    def apply(self, event: dict) -> None:
        source, subject, sequence = event["source"], event["subject"], int(event["sequence"])
        kind, data = event["type"].removeprefix("arom.v1."), event["data"]
        if kind == "profile.erased":
            self.erase(source, data["key"]["customer_id"], sequence)
            print(subject, "erased", flush=True)
        elif kind.startswith("profile."):
            place = (source, subject)
            # An equal one is a duplicate, or of a customer who came back in the change that erased them.
            if sequence >= self.profiles.get(place, (0, None))[0]:
                self.profiles[place] = (sequence, data if kind == "profile.updated" else None)
                print(subject, "last score", data.get("last_score", {}).get("value"), flush=True)
        else:
            place = (source, subject, data["kind"])
            # A duplicate, or an older one: this signal was handled.
            if sequence > self.signals.get(place, 0):
                self.signals[place] = sequence
                print(subject, data["kind"], kind, flush=True)

    def erase(self, source: str, customer: str, sequence: int) -> None:
        """Forgets what is older than the erasure. What is newer is of the customer who came back."""
        for place, (at, _) in list(self.profiles.items()):
            if place[0] == source and at < sequence and f"{place[1]}/".startswith(f"customer/{customer}/"):
                # The sequence stays, so that nothing older is taken again.
                self.profiles[place] = (sequence, None)


class Receiver(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        if not is_signed(SECRET, self.headers, body):
            print("refused a post that is not signed", flush=True)
            return self.answer(401)
        for event in json.loads(body):
            KNOWN.apply(event)
        self.answer(204)

    def answer(self, status: int) -> None:
        self.send_response(status)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


if __name__ == "__main__":
    SECRET, KNOWN = key(sys.argv[2]), Profiles()
    server = http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Receiver)
    print("listening on port", server.server_port, flush=True)
    server.serve_forever()
