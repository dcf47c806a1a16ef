"""Whether the Databricks host answers and lets us in: known in seconds, while its connector retries for minutes."""

from __future__ import annotations

import socket
import ssl
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from http.client import HTTPException, HTTPMessage
from typing import IO
from urllib.error import HTTPError, URLError

from scripts.errors import PipelineError, first_line
from scripts.settings import DatabricksSettings

WAIT_SECONDS = 10


@dataclass(frozen=True)
class Step:
    """What is tried, and what to do when it fails and its error does not say."""

    name: str
    attempt: Callable[[], str]
    remedy: str


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A redirect is an answer: it may lead to a sign-in page that can't be reached from here, and needn't be."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> None:
        return None


def reach_steps(target: DatabricksSettings) -> tuple[Step, ...]:
    """What must go well before a session can be opened."""
    return (
        Step(
            "DNS and TLS",
            lambda: _handshake(target),
            "Check DATABRICKS_HOST, the network, HTTPS_PROXY and the CA (SSL_CERT_FILE).",
        ),
        Step(
            "token",
            lambda: _token(target),
            "Make a new token (workspace: Settings, Developer) and set DATABRICKS_TOKEN.",
        ),
    )


def reach(target: DatabricksSettings) -> None:
    """Tries the host and the token once.

    Raises:
        PipelineError: No answer, a certificate that is not trusted, or a token that is refused.
    """
    for step in reach_steps(target):
        try:
            step.attempt()
        except PipelineError as error:
            raise PipelineError(error.what, step.remedy) from error


def _handshake(target: DatabricksSettings) -> str:
    """A TLS connection to the host, through HTTPS_PROXY where it is set; an HTTP error is an answer, too."""
    try:
        if not _has_proxy(target.host):
            socket.getaddrinfo(target.host, 443)
        with suppress(HTTPError):
            _open(urllib.request.Request(f"https://{target.host}/", method="HEAD"))
    except (OSError, HTTPException, UnicodeError) as error:
        cause = error.reason if isinstance(error, URLError) and isinstance(error.reason, OSError) else error
        raise PipelineError(f"No connection to Databricks at {target.host}: {first_line(cause)}.") from error
    return f"{target.host} answers, its certificate is trusted"


def _token(target: DatabricksSettings) -> str:
    if not target.token:
        return "none set: the service principal, or the browser, signs in"
    request = urllib.request.Request(
        f"https://{target.host}/{target.http_path.lstrip('/')}",
        data=b"",
        method="POST",
        headers={"Authorization": f"Bearer {target.token}"},
    )
    try:
        _open(request)
    except HTTPError as error:
        if error.code in (401, 403):
            raise PipelineError(f"Databricks answers {error.code}: the token is wrong, expired or revoked.") from error
    except (OSError, HTTPException):
        return "not refused yet: the warehouse takes its time to answer"
    return "accepted"


def _has_proxy(host: str) -> bool:
    return "https" in urllib.request.getproxies() and not urllib.request.proxy_bypass(host)


def _open(request: urllib.request.Request) -> None:
    context = urllib.request.HTTPSHandler(context=ssl.create_default_context())
    urllib.request.build_opener(context, _NoRedirects).open(request, timeout=WAIT_SECONDS).close()
