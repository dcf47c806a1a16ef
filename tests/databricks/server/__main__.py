"""Start the server by hand: `python -m tests.databricks.server`; it prints what the client's environment needs."""

from __future__ import annotations

import argparse
import json
import os
import secrets
import shlex
import shutil
import signal
import tempfile
import threading
from pathlib import Path

import trustme

from tests.databricks.server.engine import CATALOG, start
from tests.databricks.server.faults import Faults
from tests.databricks.server.protocol import Service
from tests.databricks.server.proxy import Proxy
from tests.databricks.server.volumes import Volumes

HOST = "rehearsal.databricks.test"
HTTP_PATH = "/sql/1.0/warehouses/rehearsal"


def serve(folder: Path, port: int) -> None:
    """Serve until SIGTERM, Ctrl-C or the end of the parent; `folder` gets `ready.json` and `statements.jsonl`."""
    engine_folder = Path(tempfile.mkdtemp(prefix="rehearsal-"))
    stopping = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    try:
        spark, stop = start(engine_folder)
        signal.signal(signal.SIGINT, lambda *_: stopping.set())  # after Spark has set its own
        authority, token, faults = trustme.CA(), "dapi" + secrets.token_hex(16), Faults()
        authority.cert_pem.write_to_path(folder / "ca.pem")
        volumes = Volumes(engine_folder / "volumes", faults)
        service = Service(spark, volumes, faults, folder / "statements.jsonl")
        proxy = Proxy(port, authority, service, volumes, faults, token)
        threading.Thread(target=proxy.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{proxy.server_port}"
        environment = {
            **dict.fromkeys(("HTTPS_PROXY", "https_proxy"), address),
            **dict.fromkeys(("NO_PROXY", "no_proxy"), ""),
            **dict.fromkeys(("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"), str(folder / "ca.pem")),
            "DATABRICKS_HOST": HOST,
            "DATABRICKS_HTTP_PATH": HTTP_PATH,
            "DATABRICKS_TOKEN": token,
            "DATABRICKS_CATALOG": CATALOG,
        }
        (folder / "ready.part").write_text(json.dumps(environment))
        (folder / "ready.part").rename(folder / "ready.json")
        print(*(f"export {name}={shlex.quote(value)}" for name, value in environment.items()), sep="\n", flush=True)
        print(f"# Statements are logged in {folder / 'statements.jsonl'}. Stop with Ctrl-C.", flush=True)
        parent = os.getppid()
        while os.getppid() == parent and not stopping.wait(1):
            pass
        proxy.shutdown()
        stop()
    finally:
        shutil.rmtree(engine_folder, ignore_errors=True)


def main() -> None:
    """Read the options and serve."""
    parser = argparse.ArgumentParser(prog="python -m tests.databricks.server", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="port on 127.0.0.1 (default: a free one)")
    parser.add_argument("--folder", type=Path, help="where to leave the CA and the log (default: a temporary folder)")
    options = parser.parse_args()
    if options.folder:
        serve(options.folder, options.port)
    else:
        with tempfile.TemporaryDirectory(prefix="rehearsal-log-") as folder:
            serve(Path(folder), options.port)


if __name__ == "__main__":
    main()
