"""A consortium's private certificate authority, and TLS certificates (X.509, RFC 5280) under it.

Keys are of P-256, which every TLS stack takes; browsers take no Ed25519. These keys say which host a connection ends
at, and nothing else: who a client is in a session is its Ed25519 identity's business (`privfl.primitives.signatures`).
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final, NoReturn

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from privfl.errors import ConfigurationError

MOST_DAYS: Final = 3650
_BEHIND: Final = timedelta(minutes=5)
"""So far a party's clock may be behind that of who made its certificate."""
_NAME_LENGTH: Final = 64  # RFC 5280: ub-common-name, ub-organization-name
_HOST_LENGTH: Final = 253  # of a name in the DNS: RFC 1035
_LABEL: Final = re.compile(r"(?!-)[a-z0-9-]{1,63}(?<!-)")
_NO_AUTHORITY: Final = x509.BasicConstraints(ca=False, path_length=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Issued:
    """A private key, and the certificate for it.

    Attributes:
        key_pem: the private key, PKCS #8, unencrypted: keep it where only its owner can read it.
        certificate_pem: the certificate.
        expires: when it does, UTC.
    """

    key_pem: bytes = field(repr=False)
    certificate_pem: bytes
    expires: datetime

    def __reduce__(self) -> NoReturn:
        raise TypeError("a private key is not pickled")


class Authority:
    """A private certificate authority: whoever trusts its certificate takes what it issues for the hosts named there.

    Made by `generate` or `from_pem`.

    Guarantees:
        1. What it issues is good for the hosts that are named, and as a server's or as a client's, never as both.
        2. Nothing that it issues can issue anything, and nothing outlives the authority.
        3. Every certificate has a key and a serial number of its own, from the operating system's entropy.
    """

    __slots__ = ("_certificate", "_key")

    def __init__(self, key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate) -> None:
        self._key = key
        self._certificate = certificate

    @classmethod
    def generate(cls, name: str, days: int = MOST_DAYS, *, now: datetime | None = None) -> Authority:
        """Make an authority.

        Args:
            name: what people will see, 1 to 64 characters.
            days: until it expires, 1 to 3650.
            now: the time, with its zone; the clock's, unless said.

        Raises:
            ConfigurationError: the name or the days are out of range.
        """
        now = _now(now)
        subject, expires = _subject(name, NameOID.COMMON_NAME), now + _lasting(days)
        key = _fresh_key()
        certificate = (
            _certificate(subject, subject, key, now, expires)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(issues=True), critical=True)
            .sign(key, hashes.SHA256())
        )
        return cls(key, certificate)

    @classmethod
    def from_pem(cls, key_pem: bytes, certificate_pem: bytes) -> Authority:
        """Read an authority.

        Raises:
            ConfigurationError: either is not what `privfl identity ca` makes, or they do not belong together.
        """
        try:
            key = serialization.load_pem_private_key(key_pem, password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            raise ConfigurationError("not an unencrypted PEM private key: `privfl identity ca` makes one") from None
        if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
            raise ConfigurationError("not a P-256 private key, as an authority has: `privfl identity ca` makes one")
        try:
            certificate = x509.load_pem_x509_certificate(certificate_pem)
            issues = _issues(certificate)
        except (ValueError, x509.DuplicateExtension, UnsupportedAlgorithm):
            raise ConfigurationError("not a PEM certificate: `privfl identity ca` makes one, FILE.crt") from None
        if not issues:
            raise ConfigurationError(
                "the certificate is not an authority's: give the one that `privfl identity ca` made"
            )
        if _raw(certificate.public_key()) != _raw(key.public_key()):
            raise ConfigurationError(
                "the certificate is of another key than the one given: FILE.pem and FILE.crt of one authority work"
            )
        return cls(key, certificate)

    @property
    def expires(self) -> datetime:
        """When the authority, and all that it issued, is over; UTC."""
        return self._certificate.not_valid_after_utc

    @property
    def issued(self) -> Issued:
        """The authority's own key and certificate."""
        return Issued(key_pem=_pem(self._key), certificate_pem=self._public_pem(), expires=self.expires)

    def issue(
        self, hosts: Sequence[str], *, name: str, days: int, client: bool = False, now: datetime | None = None
    ) -> Issued:
        """Make a key, and a certificate for it.

        Args:
            hosts: names in the DNS (without wildcards; international ones in their ASCII form, `xn--…`) and IP
                addresses. A server's certificate needs one or more; a client's may have none.
            name: what people will see, and what a broker may take for a client's name; 1 to 64 characters.
            days: until it expires, 1 to 3650; never later than the authority.
            client: whether it is for a client to show, instead of a server.
            now: the time, with its zone; the clock's, unless said.

        Raises:
            ConfigurationError: an argument is out of range, or the authority has expired.
        """
        now = _now(now)
        # Where no name in the DNS is listed, readers may take a common name for one: servers' names are no such.
        subject = _subject(name, NameOID.COMMON_NAME if client else NameOID.ORGANIZATION_NAME)
        lasting = _lasting(days)
        if isinstance(hosts, str) or (not hosts and not client):
            raise ConfigurationError(f"hosts is {hosts!r}: a list of one or more works, such as ['localhost']")
        if now >= self.expires:
            raise ConfigurationError(
                f"the authority expired on {self.expires:%Y-%m-%d}: `privfl identity ca` makes another, which every "
                f"party needs"
            )
        key, expires = _fresh_key(), min(now + lasting, self.expires)
        usage = ExtendedKeyUsageOID.CLIENT_AUTH if client else ExtendedKeyUsageOID.SERVER_AUTH
        own = self._certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
        builder = (
            _certificate(subject, self._certificate.subject, key, now, expires)
            .add_extension(_NO_AUTHORITY, critical=True)
            .add_extension(_usage(issues=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(own), critical=False)
        )
        if hosts:
            named = dict.fromkeys(map(_general_name, hosts))
            builder = builder.add_extension(x509.SubjectAlternativeName(list(named)), critical=False)
        return Issued(
            key_pem=_pem(key),
            certificate_pem=builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM),
            expires=expires,
        )

    def _public_pem(self) -> bytes:
        return self._certificate.public_bytes(serialization.Encoding.PEM)

    def __reduce_ex__(self, _protocol: object) -> NoReturn:
        raise TypeError("an authority is neither pickled nor copied: use issued")

    def __repr__(self) -> str:
        return f"Authority({self._certificate.subject.rfc4514_string()}, until {self.expires:%Y-%m-%d})"


def common_name(certificate_pem: bytes) -> str:
    """Return whom a certificate names: what a broker may take for a client's name.

    Raises:
        ConfigurationError: it is no certificate, or has no common name, as servers' have none.
    """
    try:
        names = x509.load_pem_x509_certificate(certificate_pem).subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    except (ValueError, UnsupportedAlgorithm):
        raise ConfigurationError("not a PEM certificate: `privfl identity cert --client` makes one") from None
    if len(names) != 1 or not isinstance(names[0].value, str):
        raise ConfigurationError("a certificate that names no client: `privfl identity cert --client` makes one")
    return names[0].value


def _fresh_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())  # from the operating system's entropy, as all of OpenSSL's keys


def _certificate(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, now: datetime, expires: datetime
) -> x509.CertificateBuilder:
    """Begin a certificate with what all have."""
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())  # 159 bits of the operating system's entropy
        .not_valid_before(now - _BEHIND)
        .not_valid_after(expires)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _usage(*, issues: bool) -> x509.KeyUsage:
    """Return what a key is for: to sign certificates, or what is said in a handshake."""
    return x509.KeyUsage(
        digital_signature=not issues,
        key_cert_sign=issues,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )


def _issues(certificate: x509.Certificate) -> bool:
    """Whether a certificate is an authority's, as `Authority.generate` makes it."""
    try:
        known = certificate.extensions
        known.get_extension_for_class(x509.SubjectKeyIdentifier)
        signs = known.get_extension_for_class(x509.KeyUsage).value.key_cert_sign
        return signs and known.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False


def _raw(public: object) -> bytes:
    """Return a P-256 public key, to be compared; nothing for any other key."""
    if not isinstance(public, ec.EllipticCurvePublicKey):
        return b""
    return public.public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _now(said: datetime | None) -> datetime:
    now = said or datetime.now(UTC)
    if now.tzinfo is None:
        raise ConfigurationError("now is without a zone: datetime.now(UTC) works")
    return now.astimezone(UTC).replace(microsecond=0)  # certificates know whole seconds


def _lasting(days: int) -> timedelta:
    if type(days) is not int or not 1 <= days <= MOST_DAYS:
        raise ConfigurationError(f"days is {days!r}: a whole number from 1 to {MOST_DAYS} works")
    return timedelta(days=days)


def _subject(name: str, kind: x509.ObjectIdentifier) -> x509.Name:
    if not 1 <= len(name) <= _NAME_LENGTH or not name.isprintable():
        raise ConfigurationError(f"name is {name!r}: 1 to {_NAME_LENGTH} printable characters work")
    return x509.Name([x509.NameAttribute(kind, name)])


def _general_name(host: str) -> x509.GeneralName:
    """Return a host as a certificate names it.

    Raises:
        ConfigurationError: it is neither a name nor an address.
    """
    if host.isascii():  # `ip_address` and `lower` would read other scripts' digits and letters as these
        with suppress(ValueError):
            if "%" not in host:  # which link an address is of is the reader's business, not a certificate's
                return x509.IPAddress(ipaddress.ip_address(host))
        labels = host.lower().split(".")  # one spelling for each name: the DNS knows no case
        # A last label of digits alone is no name: it is what is left of an address with an error in it.
        if len(host) <= _HOST_LENGTH and all(map(_LABEL.fullmatch, labels)) and not labels[-1].isdigit():
            return x509.DNSName(".".join(labels))
    raise ConfigurationError(
        f"host {host!r} is neither a name in the DNS nor an IP address: 'hospital.example' or '192.0.2.7' works"
    )
