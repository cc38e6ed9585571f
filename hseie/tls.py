"""The server's certificate: read and checked, renewed while connections are open, and how long it is good.

Whoever serves HTTPS has one `Certificates`. Its `context` is what servers are started with, and stays; the handshakes
of after a renewal get what is in the files then. So do the authorities of the clients' certificates.
"""

import asyncio
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog
from cryptography import x509

from hseie import clock
from hseie.config import Tls
from hseie.errors import CertificateError

_LOOK_S = 2.0

_log = structlog.get_logger("hseie.tls")

# When it was written, its size and which file it is, of each file: a renewal changes one of them.
_Signature = tuple[tuple[int, int, int], ...]


@dataclass(frozen=True)
class Loaded:
    """What was read from the files. `expires_at` is Unix seconds."""

    context: ssl.SSLContext
    expires_at: float


def read(tls: Tls, now: float | None = None) -> Loaded:
    """Return what the files hold, for a server. With `now`, Unix seconds, the certificate has to be good then.

    Raises CertificateError that names the file and what is wrong with it.
    """
    certificate = _certificate(tls.certificate)
    begins, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if now is not None and now >= ends.timestamp():
        raise CertificateError(f"the certificate in tls.certificate, {tls.certificate}, has expired: {ends}; renew it")
    if now is not None and now < begins.timestamp():
        raise CertificateError(
            f"the certificate in tls.certificate, {tls.certificate}, is not good before {begins}; see whether "
            "the clock of this machine is right"
        )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE
    context.set_alpn_protocols(["http/1.1"])
    _load_pair(context, tls)
    if tls.client_ca:
        _load_authorities(context, tls)
    return Loaded(context, ends.timestamp())


def _contents(key: str, path: str) -> bytes:
    try:
        return _path(path).read_bytes()
    except OSError as error:
        raise CertificateError(f"the file in {key}, {path}, cannot be read: {error.strerror}") from None


def _certificate(path: str) -> x509.Certificate:
    """Return the first certificate of a file, which is the server's own."""
    try:
        return x509.load_pem_x509_certificates(_contents("tls.certificate", path))[0]
    except ValueError:
        raise CertificateError(f"the file in tls.certificate, {path}, holds no certificate in PEM form") from None


def _load_pair(context: ssl.SSLContext, tls: Tls) -> None:
    key = _contents("tls.key", tls.key)
    if b"PRIVATE KEY-----" not in key:
        raise CertificateError(f"the file in tls.key, {tls.key}, holds no private key in PEM form")
    if b"ENCRYPTED" in key:
        raise CertificateError(
            f"the key in tls.key, {tls.key}, has a password, and nobody is here to type it; store it without one "
            "(`openssl pkey`), readable by this user only"
        )
    try:
        context.load_cert_chain(_path(tls.certificate), _path(tls.key), password="")  # or it would ask on a terminal
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            text = (
                f"the key in tls.key, {tls.key}, is not that of the certificate in tls.certificate, {tls.certificate}"
            )
        else:
            text = f"tls.certificate and tls.key, {tls.certificate} and {tls.key}, cannot be used: {_reason(error)}"
        raise CertificateError(text) from None
    except OSError as error:  # gone since it was read
        raise CertificateError(f"{tls.certificate} or {tls.key} cannot be read: {error.strerror}") from None


def _load_authorities(context: ssl.SSLContext, tls: Tls) -> None:
    _contents("tls.client_ca", tls.client_ca)
    try:
        context.load_verify_locations(_path(tls.client_ca))
    except OSError as error:  # SSLError is one
        text = f"the file in tls.client_ca, {tls.client_ca}, holds no certificates in PEM form: {_reason(error)}"
        raise CertificateError(text) from None
    required = tls.client_certificates == "required"
    context.verify_mode = ssl.CERT_REQUIRED if required else ssl.CERT_OPTIONAL
    # A session that is taken up again would bring along the certificate of long ago, whoever signed it.
    context.options |= ssl.OP_NO_TICKET
    context.num_tickets = 0


def _path(path: str) -> Path:
    return Path(path).expanduser()


def _reason(error: OSError) -> str:
    reason = getattr(error, "reason", None) or error.strerror or str(error)
    return str(reason).lower().replace("_", " ")


class Certificates:
    """What a process serves HTTPS with. `trouble` says what is wrong with the files, while what was read last holds."""

    def __init__(self, tls: Tls, unix_s: Callable[[], float] = clock.unix_s) -> None:
        """Raises CertificateError. A certificate that has expired is better than none: it was good at the node's start,
        and some clients do not look."""
        self._tls = tls
        self._unix_s = unix_s
        self._signature = _signature(tls)
        self._doubtful: _Signature = ()
        self._newest = read(tls)
        self.trouble = ""
        self.context = self._newest.context
        self.context.sni_callback = self._use_newest

    @property
    def expires_at(self) -> float:
        """When the one in use does, Unix seconds."""
        return self._newest.expires_at

    def look(self) -> None:
        """Take what is new in the files, if it is good; else keep what there is, and try again at the next look.

        What is wrong is told when it is so at a second look too: whoever renews writes one file after the other.
        """
        signature = _signature(self._tls)
        if signature == self._signature:
            self.trouble = ""
            return
        try:
            newest = read(self._tls, self._unix_s())
        except CertificateError as error:
            if signature == self._doubtful and str(error) != self.trouble:
                self.trouble = str(error)
                _log.error("certificate_not_renewed", reason=self.trouble)
            self._doubtful = signature
            return
        self._signature = signature
        self._newest = newest
        self.trouble = ""
        _log.info("certificate_renewed", expires_in_days=round((newest.expires_at - self._unix_s()) / 86_400, 1))

    async def watch(self) -> None:
        """Look, for ever."""
        while True:
            await asyncio.sleep(_LOOK_S)
            self.look()

    def _use_newest(self, connection: ssl.SSLObject | ssl.SSLSocket, name: str | None, _: ssl.SSLContext) -> None:
        # Asked in every handshake, whether it names a server or not. To load new files into the live context instead
        # would leave it without a key where they change meanwhile, and would never forget an authority.
        connection.context = self._newest.context


def _signature(tls: Tls) -> _Signature:
    return tuple(_of_file(path) for path in (tls.certificate, tls.key, tls.client_ca) if path)


def _of_file(path: str) -> tuple[int, int, int]:
    try:
        found = _path(path).stat()
    except OSError:
        return (0, 0, 0)
    return (found.st_mtime_ns, found.st_size, found.st_ino)


def open_certificates(tls: Tls) -> Certificates | None:
    """Return what a process serves HTTPS with; None where it is to serve plain HTTP. Raises CertificateError."""
    return Certificates(tls) if tls.on else None


def certificate_figures(certificates: Certificates | None) -> dict[str, Any]:
    """Return what a heartbeat tells of the certificate; zeros for plain HTTP."""
    return {
        "certificate_expires_at": certificates.expires_at if certificates is not None else 0,
        "certificate_stale": int(certificates is not None and bool(certificates.trouble)),
        "certificate_trouble": certificates.trouble if certificates is not None else "",
    }


def common_name(certificate: dict[str, Any] | None) -> str | None:
    """Return whom a client's certificate, as `getpeercert` shows it, is for; None without a certificate.

    Empty where it does not say so exactly once: that is nobody's name.
    """
    if not certificate:
        return None
    names = [value for part in certificate.get("subject", ()) for name, value in part if name == "commonName"]
    return str(names[0]) if len(names) == 1 else ""
