"""The way in: an HTTPS proxy that answers for every host name itself, with certificates of a throw-away CA."""

from __future__ import annotations

import base64
import contextlib
import json
import shutil
import socket
import ssl
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock
from typing import Any

import trustme

from tests.databricks.server.faults import Faults
from tests.databricks.server.protocol import ConnectionDropped, Service
from tests.databricks.server.volumes import HOST as VOLUMES_HOST
from tests.databricks.server.volumes import Volumes

TOKEN_PATH = "/oidc/v1/token"


class Proxy(ThreadingHTTPServer):
    """Listens on 127.0.0.1; plain requests that are no CONNECT set the faults."""

    daemon_threads = True

    def __init__(
        self, port: int, authority: trustme.CA, service: Service, volumes: Volumes, faults: Faults, token: str
    ) -> None:
        super().__init__(("127.0.0.1", port), Connection)
        self.service, self.volumes, self.faults, self.token = service, volumes, faults, token
        self._authority, self._contexts, self._lock = authority, dict[str, ssl.SSLContext](), Lock()

    def context_for(self, host: str) -> ssl.SSLContext:
        """Server side of TLS with a certificate for the host name."""
        with self._lock:
            if host not in self._contexts:
                self._contexts[host] = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
                self._authority.issue_cert(host).configure_cert(self._contexts[host])
            return self._contexts[host]


class Connection(BaseHTTPRequestHandler):
    """One connection of a client: plain until it says CONNECT, then TLS with what would be the host's requests."""

    protocol_version = "HTTP/1.1"
    server: Proxy
    host = ""

    def do_CONNECT(self) -> None:
        self.send_response_only(200, "Connection established")
        self.end_headers()
        self.host = self.path.rpartition(":")[0]
        try:
            self.connection = self.server.context_for(self.host).wrap_socket(self.connection, server_side=True)
        except (ssl.SSLError, OSError):  # the client does not trust the CA
            self.close_connection = True
            return
        self.rfile = self.connection.makefile("rb")
        self.wfile = self.connection.makefile("wb", 0)
        self.close_connection = False

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if not self.host:
            self.server.faults.set(json.loads(body))
            self._reply(204)
        elif self.path == TOKEN_PATH:
            self._issue_token()
        elif not self.path.startswith("/sql/"):
            self._reply(200, b'{"errors": []}')  # telemetry
        elif not self._refused():
            try:
                self._reply(200, self.server.service.answer(body), "application/x-thrift")
            except EOFError:
                self._reply(400, b'{"error_code": "MALFORMED_REQUEST", "message": "The body is no Thrift message."}')
            except ConnectionDropped:
                with contextlib.suppress(OSError):
                    self.connection.shutdown(socket.SHUT_RDWR)
                self.close_connection = True

    def _issue_token(self) -> None:
        """OAuth for machines: the one service principal's secret is the token that it gets."""
        password = base64.b64decode(self.headers["Authorization"].removeprefix("Basic ")).decode().partition(":")[2]
        if password == self.server.token:
            token = {"access_token": self.server.token, "token_type": "Bearer", "expires_in": 3600}
            self._reply(200, json.dumps(token).encode())
        else:
            self._reply(401, b'{"error": "invalid_client", "error_description": "Client authentication failed"}')

    def do_GET(self) -> None:
        if self.path == "/.well-known/databricks-config":
            self._reply(200, json.dumps({"oidc_endpoint": f"https://{self.host}/oidc"}).encode())
        elif self.path == "/oidc/.well-known/oauth-authorization-server":
            endpoints = {"token": TOKEN_PATH, "authorization": "/oidc/v1/authorize"}
            urls = {f"{name}_endpoint": f"https://{self.host}{path}" for name, path in endpoints.items()}
            self._reply(200, json.dumps(urls).encode())
        elif self.host != VOLUMES_HOST:
            self._reply(200, b'{"flags": [], "ttl_seconds": 900}')  # feature flags
        elif transfer := self._transfer():
            self.send_response(200)
            self.send_header("Content-Length", str(transfer.file.stat().st_size))
            self.end_headers()
            with transfer.file.open("rb") as file:
                shutil.copyfileobj(file, self.wfile)

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if transfer := self._transfer():
            transfer.file.parent.mkdir(parents=True, exist_ok=True)
            transfer.file.write_bytes(body)
            self._reply(201)

    def do_DELETE(self) -> None:
        if transfer := self._transfer():
            transfer.file.unlink()
            self._reply(204)

    def _transfer(self) -> Any:
        """The transfer that the presigned URL allows; None after an answer that refuses it."""
        transfer = self.server.volumes.transfers.get(self.path.strip("/"))
        if self._unavailable():
            return None
        if self.host != VOLUMES_HOST or transfer is None or transfer.method != self.command:
            self._reply(403, b"The URL is not valid for this request.")
        elif self.command != "PUT" and not transfer.file.is_file():
            self._reply(404, b"The file does not exist.")
        else:
            return transfer
        return None

    def _refused(self) -> bool:
        expired = self.server.faults.expired_status
        if expired or self.headers["Authorization"] != f"Bearer {self.server.token}":
            reason = {"x-databricks-reason-phrase": "Invalid access token or token has expired."}
            self._reply(expired or 403, b'{"error_code": "403", "message": "Invalid access token."}', headers=reason)
            return True
        return self._unavailable()

    def _unavailable(self) -> bool:
        if hit := self.server.faults.take_unavailable():
            self._reply(503, headers={"Retry-After": str(self.server.faults.retry_after_seconds)})
        return hit

    def _reply(
        self, status: int, body: bytes = b"", kind: str = "application/json", headers: dict[str, str] | None = None
    ) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def finish(self) -> None:
        with contextlib.suppress(OSError):
            super().finish()
        self.connection.close()

    def log_message(self, format: str, *args: Any) -> None:
        """The statement log says more."""
