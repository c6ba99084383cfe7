"""A provider of sign-ins for tests on this machine, which believes everybody: `python -m tests.oidc_provider PORT`."""

import json
import secrets
import sys
import time
from base64 import b64decode
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from joserfc import jwt
from joserfc.jwk import RSAKey

KEY = RSAKey.generate_key(2048, {"kid": "test"})
PEOPLE = ("ann@example.org", "bob@example.org", "vic@example.org", "eve@example.org")

_codes: dict[str, dict[str, Any]] = {}


class Provider(BaseHTTPRequestHandler):
    """What OpenID Connect asks of a provider: its description, keys, a page to sign in on, tokens for codes."""

    server: ThreadingHTTPServer

    @property
    def issuer(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}"

    def do_GET(self) -> None:
        """The description, the keys, and the page: with `as` it signs in at once."""
        about = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(about.query).items()}
        if about.path == "/.well-known/openid-configuration":
            self._json({
                "issuer": self.issuer, "authorization_endpoint": f"{self.issuer}/authorize",
                "token_endpoint": f"{self.issuer}/token", "jwks_uri": f"{self.issuer}/keys",
                "response_types_supported": ["code"], "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": ["RS256"],
            })  # fmt: skip
        elif about.path == "/keys":
            self._json({"keys": [KEY.as_dict(private=False)]})
        elif about.path == "/authorize" and "as" in query:
            code = secrets.token_urlsafe()
            _codes[code] = query
            self.send_response(302)
            self.send_header(
                "Location", f"{query['redirect_uri']}?{urlencode({'code': code, 'state': query['state']})}"
            )
            self.end_headers()
        elif about.path == "/authorize":
            links = (f"<p><a href='/authorize?{urlencode({**query, 'as': name})}'>{name}</a></p>" for name in PEOPLE)
            self._send("".join(links).encode(), "text/html")
        else:
            self.send_error(404)

    def do_POST(self) -> None:
        """Tokens for a code."""
        sent = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
        asked = _codes.pop(sent["code"][0])
        basic = self.headers.get("Authorization", "").removeprefix("Basic ")
        client = b64decode(basic).decode().partition(":")[0] if basic else sent["client_id"][0]
        now = int(time.time())
        claims = {
            "iss": self.issuer, "aud": client, "sub": asked["as"].partition("@")[0], "iat": now, "exp": now + 300,
            "email": asked["as"], "email_verified": True, "nonce": asked.get("nonce", ""),
        }  # fmt: skip
        token = jwt.encode({"alg": "RS256", "kid": "test"}, claims, KEY)
        self._json({"access_token": "none", "token_type": "Bearer", "expires_in": 300, "id_token": token})

    def _json(self, said: dict[str, Any]) -> None:
        self._send(json.dumps(said).encode(), "application/json")

    def _send(self, content: bytes, kind: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: the tests' output stays readable."""


if __name__ == "__main__":
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Provider).serve_forever()
