"""Who signs, and with what: ECDSA over P-256 and SHA-256, by a key in KMS or one in a file."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from statemachine.contracts.errors import Misconfigured

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey, EllipticCurvePublicKey

MAKE = "openssl ecparam -genkey -name prime256v1 -noout -out audit-key.pem"


class Signer(Protocol):
    """Something that signs, and whose public key is known."""

    @property
    def keyid(self) -> str:
        """The sha256 of the public key's DER encoding."""

    def sign(self, message: bytes) -> bytes:
        """The signature, DER-encoded."""


@dataclass(frozen=True)
class FileKey:
    """A private key in a PEM file."""

    key: "EllipticCurvePrivateKey"

    @property
    def keyid(self) -> str:
        """See `Signer`."""
        return keyid(self.key.public_key())

    def sign(self, message: bytes) -> bytes:
        """See `Signer`."""
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import ec

        return self.key.sign(message, ec.ECDSA(hashes.SHA256()))


@dataclass(frozen=True)
class KmsKey:
    """A key of AWS KMS (`ECC_NIST_P256`, `SIGN_VERIFY`). It never leaves KMS; `client` is a `kms` client."""

    client: Any
    name: str

    @property
    def keyid(self) -> str:
        """See `Signer`."""
        return hashlib.sha256(self._asked("get_public_key")["PublicKey"]).hexdigest()

    def sign(self, message: bytes) -> bytes:
        """See `Signer`. KMS takes at most 4096 bytes of a message, so it gets the digest."""
        digest = hashlib.sha256(message).digest()
        signed = self._asked("sign", Message=digest, MessageType="DIGEST", SigningAlgorithm="ECDSA_SHA_256")
        return bytes(signed["Signature"])

    def _asked(self, operation: str, **parameters: Any) -> Any:
        from botocore.exceptions import ClientError

        try:
            return getattr(self.client, operation)(KeyId=self.name, **parameters)
        except ClientError as error:
            kind = "it takes a key of spec ECC_NIST_P256 for SIGN_VERIFY, and the right to use it"
            raise Misconfigured(f"KMS refuses {operation} with {self.name}: {error}; {kind}") from error


def file_key(path: Path) -> FileKey:
    """Raises `Misconfigured` if the file holds no unencrypted private key on P-256."""
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key(path.read_bytes(), None)
    except OSError as error:
        raise Misconfigured(f"the key {path} cannot be read: {error.strerror}; `{MAKE}` makes one") from error
    except (ValueError, TypeError) as error:
        raise Misconfigured(f"{path} holds no private key in PEM without a password; `{MAKE}` makes one") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.curve.name != "secp256r1":
        raise Misconfigured(f"{path} holds a key of another kind; it takes one on P-256: `{MAKE}`")
    return FileKey(key)


def public_key(path: Path) -> "EllipticCurvePublicKey":
    """Raises `Misconfigured` if the file holds no public key on P-256."""
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    how = "`openssl ec -in audit-key.pem -pubout`, or KMS' get-public-key, gives it"
    try:
        key = load_pem_public_key(path.read_bytes())
    except OSError as error:
        raise Misconfigured(f"the key {path} cannot be read: {error.strerror}; {how}") from error
    except (ValueError, TypeError) as error:
        raise Misconfigured(f"{path} holds no public key in PEM; {how}") from error
    if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name != "secp256r1":
        raise Misconfigured(f"{path} holds a public key of another kind; it takes one on P-256: {how}")
    return key


def keyid(key: "EllipticCurvePublicKey") -> str:
    """The sha256 of a public key's DER encoding."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    return hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()


def holds(key: "EllipticCurvePublicKey", message: bytes, signature: bytes) -> bool:
    """Whether the signature of that key is this one, in its only DER encoding."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

    try:
        key.verify(signature, message, ec.ECDSA(hashes.SHA256()))
        return encode_dss_signature(*decode_dss_signature(signature)) == signature
    except (InvalidSignature, ValueError):
        return False
