"""Creates the CA and the hosts' certificates, as texts. Pure except for randomness."""

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from ocmt_common.host_credentials import role_name

CA_LIFE = timedelta(days=365 * 20)
LIFE = timedelta(days=730)
"""Lifetime of a host's certificate. The CA's key is on no server, so renewal is never automatic."""
RENEW_BEFORE = timedelta(days=180)
"""Time before a certificate's end from which `ocmt setup` issues a new one."""
_SKEW = timedelta(days=1)
"""How far a host's clock may be behind."""
_CURVE = ec.SECP256R1()


@dataclass(frozen=True, slots=True)
class Authority:
    """The CA's key and certificate, in PEM."""

    key: str = field(repr=False)
    certificate: str


def why_damaged(authority: Authority) -> str:
    """What is wrong with a CA's key or certificate, apart from its dates; "" if nothing is."""
    try:
        key = _private(authority.key)
        certificate = x509.load_pem_x509_certificate(authority.certificate.encode())
        fits = certificate.public_key() == key.public_key()
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return "is damaged"
    if not fits:
        return "has a key and a certificate that do not belong together"
    return ""


def why_not_valid(authority: Authority, now: datetime) -> str:
    """Why a CA that is not damaged is not valid at `now`; "" if it is."""
    certificate = x509.load_pem_x509_certificate(authority.certificate.encode())
    if now < certificate.not_valid_before_utc:
        return f"is not valid before {certificate.not_valid_before_utc:%Y-%m-%d}"
    if now >= certificate.not_valid_after_utc:
        return f"expired on {certificate.not_valid_after_utc:%Y-%m-%d}"
    return ""


def new_authority(now: datetime) -> Authority:
    key = ec.generate_private_key(_CURVE)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "OCMT hosts")])
    made = (
        _builder(name, name, key.public_key(), now, CA_LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .sign(key, hashes.SHA256())
    )
    return Authority(_key_text(key), _text(made))


def issue(
    authority: Authority, *, host: str, address: str, roles: Sequence[str], now: datetime
) -> str:
    """A new key and certificate (PEM) for the host's name and address, as server and client."""
    signer = _private(authority.key)
    issuer = x509.load_pem_x509_certificate(authority.certificate.encode())
    key = ec.generate_private_key(_CURVE)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
    both = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    made = (
        _builder(name, issuer.subject, key.public_key(), now, LIFE)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(both), critical=False)
        .add_extension(x509.SubjectAlternativeName(_names(address, roles)), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False
        )
        .sign(signer, hashes.SHA256())
    )
    return _key_text(key) + _text(made)


def is_valid_at(there: datetime, *, made: datetime) -> bool:
    """Whether a certificate created at `made` is valid on a host whose clock shows `there`."""
    return made - _SKEW <= there < made + LIFE


def needs_issuing(
    text: str | None, authority: Authority, *, address: str, roles: Sequence[str], now: datetime
) -> bool:
    """Whether a host needs a new key and certificate.

    It does if they are missing, damaged, not valid yet, of another CA, or not for this host's
    address and roles, and from `RENEW_BEFORE` their end.
    """
    if text is None:
        return True
    issuer = x509.load_pem_x509_certificate(authority.certificate.encode())
    try:
        certificate = x509.load_pem_x509_certificate(text.encode())
        certificate.verify_directly_issued_by(issuer)
        fits = certificate.public_key() == _private(text).public_key()
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (
        InvalidSignature, UnsupportedAlgorithm, ValueError, TypeError, x509.ExtensionNotFound
    ):  # fmt: skip
        return True
    valid_long = (
        certificate.not_valid_before_utc <= now < certificate.not_valid_after_utc - RENEW_BEFORE
    )
    return not fits or not valid_long or list(names) != _names(address, roles)


def ends_at(text: str) -> datetime | None:
    """When the first certificate in a PEM text expires; `None` if it has none."""
    try:
        return x509.load_pem_x509_certificate(text.encode()).not_valid_after_utc
    except ValueError:
        return None


def _names(address: str, roles: Sequence[str]) -> list[x509.GeneralName]:
    by_address: x509.GeneralName
    try:
        by_address = x509.IPAddress(ipaddress.ip_address(address))
    except ValueError:
        by_address = x509.DNSName(address)
    return [by_address, *(x509.UniformResourceIdentifier(role_name(role)) for role in roles)]


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey,
    now: datetime,
    life: timedelta,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _SKEW)
        .not_valid_after(now + life)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )


def _private(text: str) -> ec.EllipticCurvePrivateKey:
    key = serialization.load_pem_private_key(text.encode(), password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ValueError("is not an elliptic curve key")
    return key


def _key_text(key: ec.EllipticCurvePrivateKey) -> str:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ).decode()


def _text(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()
