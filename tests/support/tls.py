"""TLS on both ends of a connection to this machine."""

import ssl
import subprocess
from pathlib import Path

from attrs import frozen


@frozen
class Secured:
    """TLS on both ends, with a self-signed certificate for 127.0.0.1."""

    server: ssl.SSLContext
    client: ssl.SSLContext
    certificate: Path


def make_certificate(folder: Path) -> Secured:
    """Make a certificate with openssl, in this folder."""
    certificate, secret = folder / "certificate.pem", folder / "secret.pem"
    options = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=test"]
    name = ["-addext", "subjectAltName=IP:127.0.0.1"]
    files = ["-out", str(certificate), "-keyout", str(secret)]
    command = ["openssl", *options, *name, *files]
    subprocess.run(command, check=True, capture_output=True)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(certificate, secret)
    return Secured(server, ssl.create_default_context(cafile=certificate), certificate)
