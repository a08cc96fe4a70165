"""A certificate authority that lasts one run, and the file that makes it trusted."""

from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Final, NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

# What the product reads where it is there; a bundle of one would read faster
# than any real one.
SYSTEM: Final = Path("/etc/ssl/certs/ca-certificates.crt")
ADDRESS: Final = "127.0.0.1"


class Files(NamedTuple):
    """`server` has key and certificate of 127.0.0.1; `bundle` is whom to trust."""

    server: Path
    bundle: Path


def issue(folder: Path) -> Files:
    """Make an authority and, signed by it, the certificate of 127.0.0.1."""
    authority, key = ec.generate_private_key(ec.SECP256R1()), _key()
    files = Files(folder / "server.pem", folder / "bundle.pem")
    root = _begin("tocsin-bench authority", authority.public_key())
    root = root.add_extension(x509.BasicConstraints(True, 0), critical=True)
    leaf = _begin(ADDRESS, key.public_key())
    names = x509.SubjectAlternativeName([x509.IPAddress(ip_address(ADDRESS))])
    leaf = leaf.add_extension(names, critical=False)
    files.server.write_bytes(_pem(key) + _sign(leaf, authority))
    system = SYSTEM.read_bytes() if SYSTEM.exists() else b""
    files.bundle.write_bytes(system + _sign(root, authority))
    return files


def _key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def _begin(name: str, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    issuer = x509.Name(
        [x509.NameAttribute(NameOID.COMMON_NAME, "tocsin-bench authority")]
    )
    return x509.CertificateBuilder(
        issuer_name=issuer,
        subject_name=x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]),
        public_key=key,
        serial_number=x509.random_serial_number(),
        not_valid_before=now - timedelta(hours=1),
        not_valid_after=now + timedelta(days=1),
    )


def _sign(
    certificate: x509.CertificateBuilder, by: ec.EllipticCurvePrivateKey
) -> bytes:
    return certificate.sign(by, hashes.SHA256()).public_bytes(
        serialization.Encoding.PEM
    )


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
