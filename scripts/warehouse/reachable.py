"""Whether the Databricks host answers and lets us in: known in seconds, while its connector retries for minutes."""

from __future__ import annotations

import socket
from contextlib import suppress
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import HTTPRedirectHandler, Request, build_opener, getproxies, proxy_bypass

from scripts.errors import PipelineError, first_line
from scripts.settings import DatabricksSettings

WAIT_SECONDS = 10
HOST_REMEDY = "Check DATABRICKS_HOST, the network, HTTPS_PROXY and the CA (SSL_CERT_FILE)."
TOKEN_REMEDY = "Make a new token (workspace: Settings, Developer) and set DATABRICKS_TOKEN."


class _NoRedirects(HTTPRedirectHandler):
    """A redirect is an answer: it may lead to a sign-in page that can't be reached from here, and needn't be."""

    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        return None


def reach_host(target: DatabricksSettings) -> str:
    """A TLS connection to the host, through HTTPS_PROXY where it is set; an HTTP error is an answer, too. Raises
    PipelineError where there is none, or the certificate is not trusted."""
    try:
        has_proxy = "https" in getproxies() and not proxy_bypass(target.host)
        if not has_proxy:
            socket.getaddrinfo(target.host, 443)
        with suppress(HTTPError):
            _open(Request(f"https://{target.host}/", method="HEAD"))
    except (OSError, HTTPException, UnicodeError) as error:
        cause = error.reason if isinstance(error, URLError) and isinstance(error.reason, OSError) else error
        said = f"No connection to Databricks at {target.host}: {first_line(cause)}."
        raise PipelineError(said, HOST_REMEDY) from error
    return f"{target.host} answers, its certificate is trusted"


def try_token(target: DatabricksSettings) -> str:
    """Whether the warehouse takes the token, where one is set; raises PipelineError where it refuses it."""
    if not target.token:
        return "none set: the service principal, or the browser, signs in"
    url = f"https://{target.host}/{target.http_path.lstrip('/')}"
    try:
        _open(Request(url, data=b"", method="POST", headers={"Authorization": f"Bearer {target.token}"}))
    except HTTPError as error:
        if error.code in (401, 403):
            said = f"Databricks answers {error.code}: the token is wrong, expired or revoked."
            raise PipelineError(said, TOKEN_REMEDY) from error
    except (OSError, HTTPException):
        return "not refused yet: the warehouse takes its time to answer"
    return "accepted"


def _open(request: Request) -> None:
    build_opener(_NoRedirects).open(request, timeout=WAIT_SECONDS).close()
