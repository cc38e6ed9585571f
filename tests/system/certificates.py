"""Certificates for tests: an authority of our own, what it signs, and the files that a node is given."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import trustme

HOST = "127.0.0.1"


class Authority:
    """Signs certificates. `file` is what those trust who trust it."""

    def __init__(self, folder: Path, name: str = "authority") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._ca = trustme.CA(organization_name=name)
        self.file = folder / f"{name}.pem"
        self._ca.cert_pem.write_to_path(str(self.file))

    def server(self, days: float = 365.0, begins_in_days: float = -1.0) -> tuple[bytes, bytes]:
        """A server's certificate with its chain, and its key, as PEM."""
        now = datetime.now(UTC)
        made = self._ca.issue_cert(
            HOST, not_before=now + timedelta(days=begins_in_days), not_after=now + timedelta(days=days)
        )
        return b"".join(blob.bytes() for blob in made.cert_chain_pems), made.private_key_pem.bytes()

    def client(self, name: str) -> Path:
        """The file of a client: certificate and key."""
        file = self._folder / f"{name.replace(':', '-')}.pem"
        made = self._ca.issue_cert("client.example.org", common_name=name)
        made.private_key_and_cert_chain_pem.write_to_path(str(file))
        return file


class Pair:
    """The files of a server's certificate and key, as a node is given them."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.certificate = folder / "server.pem"
        self.key = folder / "server-key.pem"

    def write(self, certificate: bytes, key: bytes) -> None:
        """Put both in their places, the certificate first, as programs that renew do."""
        self.certificate.write_bytes(certificate)
        self.key.write_bytes(key)

    @property
    def settings(self) -> dict[str, str]:
        return {"HSEIE_TLS__CERTIFICATE": str(self.certificate), "HSEIE_TLS__KEY": str(self.key)}
