"""The key and certificates a manifest is signed with: the user's own, or ones made here on first use.

A certificate made here is vouched for by nobody. Whoever checks a manifest signed with it learns that the file has not
changed since, not who signed it.
"""

from __future__ import annotations

import datetime
import os
from dataclasses import dataclass
from pathlib import Path

from limner.errors import InputError
from limner.files import atomic_write
from limner.weights.store import home

CERTIFICATES, KEY = "LIMNER_SIGN_CERTIFICATES", "LIMNER_SIGN_KEY"
"""Environment variables: PEM files of the certificate chain, the signer's own first, and of its private key."""
YEARS = 10  # that a certificate made here is valid


@dataclass(frozen=True)
class Credentials:
    """What c2pa needs to sign."""

    algorithm: str
    certificates: bytes
    key: bytes
    local: bool
    """Made on this machine, so vouched for by nobody."""


def credentials() -> Credentials:
    """The user's own if the environment names them, else the local ones, made now if need be. Raises ``InputError``."""
    paths = os.environ.get(CERTIFICATES), os.environ.get(KEY)
    if any(paths):
        if not all(paths):
            raise InputError(f"{CERTIFICATES} and {KEY} belong together: set both, or neither")
        chain, key = (_read(Path(str(path)).expanduser()) for path in paths)
        return Credentials(_algorithm(key, paths[1]), chain, key, local=False)
    path = home() / "signing" / "local.pem"
    if not path.is_file():
        with atomic_write(path) as temporary:
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with open(descriptor, "wb") as file:
                file.write(_make())
    both = _read(path)
    key, found, chain = both.partition(b"-----BEGIN CERTIFICATE-----")
    if not found:
        raise InputError(f"{path} is damaged: remove it, and a new certificate is made")
    return Credentials(_algorithm(key, path), found + chain, key, local=True)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot sign: {path} cannot be read ({error.strerror})") from None


def _algorithm(key: bytes, path: object) -> str:
    """C2PA's name of the signature that goes with a private key."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        loaded = load_pem_private_key(key, None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise InputError(f"cannot sign: {path} holds no private key in PEM without a password") from None
    curves = {"secp256r1": "es256", "secp384r1": "es384", "secp521r1": "es512"}
    if isinstance(loaded, ec.EllipticCurvePrivateKey) and loaded.curve.name in curves:
        return curves[loaded.curve.name]
    if isinstance(loaded, ed25519.Ed25519PrivateKey):
        return "ed25519"
    if isinstance(loaded, rsa.RSAPrivateKey):
        return "ps256"
    raise InputError(f"cannot sign: {path} is no key of a kind C2PA allows: P-256, P-384, P-521, Ed25519 or RSA")


def _make() -> bytes:
    """A private key and its certificate, issued by an authority whose own key is thrown away at once. PEM.

    C2PA refuses certificates that sign themselves, and wants the key usages below (specification 2.1, section 14.5).
    The names say what it is and nothing of the machine or its user.
    """
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    def name(common: str) -> x509.Name:
        made = x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Limner, made locally, vouched for by nobody")
        return x509.Name([made, x509.NameAttribute(NameOID.COMMON_NAME, common)])

    def usage(signs: bool) -> x509.KeyUsage:
        no = dict.fromkeys(
            ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "encipher_only"), False
        )
        return x509.KeyUsage(
            **no, decipher_only=False, digital_signature=signs, key_cert_sign=not signs, crl_sign=not signs
        )

    now = datetime.datetime.now(datetime.timezone.utc)
    authority, signer = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    above = name("Limner local authority")
    identifier = x509.SubjectKeyIdentifier.from_public_key(authority.public_key())

    def certificate(subject: x509.Name, key: ec.EllipticCurvePrivateKey, is_authority: bool) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(above)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(days=365 * YEARS))
            .add_extension(x509.BasicConstraints(is_authority, 0 if is_authority else None), critical=True)
            .add_extension(usage(signs=not is_authority), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        )

    root = certificate(above, authority, True).sign(authority, hashes.SHA256())
    leaf = (
        certificate(name("Limner local signer"), signer, False)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), critical=False)
        .sign(authority, hashes.SHA256())
    )
    key = signer.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return key + leaf.public_bytes(Encoding.PEM) + root.public_bytes(Encoding.PEM)
