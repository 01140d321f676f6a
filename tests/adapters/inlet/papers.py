"""Certificates of a small authority, as files."""

from __future__ import annotations

import ssl
import time
from pathlib import Path
from typing import Any

from adapters.identity.authority import Authority, Issued, make_authority


class Papers:
    """An authority in ``folder``, and a server's certificate of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True)
        self.now = round(time.time() * 1000)
        self.authority: Authority = make_authority(folder, self.now)
        self.ca = str(folder / "ca.pem")
        self.crl = str(folder / "ca.crl")
        self.server("localhost", "127.0.0.1")

    def server(self, *names: str) -> int:
        """Make a server's certificate, in the place of the last one; its serial number."""
        issued = self.authority.server(names, self.now)
        self.write("server", issued)
        return issued.serial

    def write(self, name: str, issued: Issued) -> tuple[str, str]:
        paths = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        for path, data in zip(paths, (issued.pem, issued.key), strict=True):
            beside = path.with_suffix(".new")
            beside.write_bytes(data)
            beside.replace(path)
        return str(paths[0]), str(paths[1])

    def trust(self, *client: str) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=self.ca)
        if client:
            context.load_cert_chain(*client)
        return context

    def settings(self, **more: Any) -> dict[str, Any]:
        cert, key = (str(self.folder / name) for name in ("server.pem", "server.key"))
        return {"cert_file": cert, "key_file": key, "watch": 0.05} | more
