"""The Ed25519 key that identifies this server to a gateway as its paired device."""

import base64
import hashlib

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class DeviceKey:
    """One agent's device identity; `repr` shows the public id only."""

    __slots__ = ("_private", "device_id", "public_key")

    def __init__(self, private: Ed25519PrivateKey) -> None:
        raw = private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        self._private = private
        self.device_id = hashlib.sha256(raw).hexdigest()
        self.public_key = _base64url(raw)

    def __repr__(self) -> str:
        return f"DeviceKey({self.device_id[:12]}…)"

    @classmethod
    def generate(cls) -> "DeviceKey":
        return cls(Ed25519PrivateKey.generate())

    @classmethod
    def from_seed(cls, seed: bytes) -> "DeviceKey":
        """Restore a key from the 32 bytes that `seed` returned."""
        return cls(Ed25519PrivateKey.from_private_bytes(seed))

    def derived(self, purpose: str) -> "DeviceKey":
        """Another device's key, derived from this one and `purpose`, so it need not be stored."""
        return DeviceKey.from_seed(hashlib.sha256(self.seed() + purpose.encode()).digest())

    def seed(self) -> bytes:
        """The key's 32 secret bytes, for the agent server's database."""
        return self._private.private_bytes_raw()

    def sign(self, text: str) -> str:
        """Sign `text`. Returns base64url without padding, as the gateway expects."""
        return _base64url(self._private.sign(text.encode()))
