"""Envelope encryption: keys from `VAULT_KEY` wrap a data key per user, which encrypts the secrets.

Everything is AES-256-GCM, stored with a fresh 96-bit nonce in front. User, name and version are
associated data, so a ciphertext copied to another user, name or version does not decrypt.
"""

import hmac
import json
import secrets
from collections.abc import Mapping

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from ocmt_common.problems import Problem

_NONCE_BYTES = 12
_KEY_BYTES = 32


def _seal(key: bytes, plain: bytes, *bound_to: str | int) -> bytes:
    nonce = secrets.token_bytes(_NONCE_BYTES)
    return nonce + AESGCM(key).encrypt(nonce, plain, _associated(bound_to))


def _open(key: bytes, sealed: bytes, *bound_to: str | int) -> bytes:
    try:
        return AESGCM(key).decrypt(
            sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], _associated(bound_to)
        )
    except InvalidTag as error:
        raise Problem(
            500,
            "vault-corrupt",
            "A stored secret does not decrypt: it was altered, or VAULT_KEY holds another key "
            "under the same id. Restore the right VAULT_KEY, or enter the secret again.",
        ) from error


def _associated(bound_to: tuple[str | int, ...]) -> bytes:
    # JSON keeps the boundaries of the parts: ("ab", "c") and ("a", "bc") differ.
    return json.dumps(("ocmt-vault-1", *bound_to)).encode()


class DataKey:
    """The data key of a user, or of a server secret, unwrapped. Decrypting raises `Problem`."""

    __slots__ = ("_key", "_user_id")

    def __init__(self, key: bytes, user_id: str) -> None:
        self._key = key
        self._user_id = user_id

    def encrypt(self, value: str, *, name: str, version: int) -> bytes:
        return _seal(self._key, value.encode(), self._user_id, name, version)

    def decrypt(self, sealed: bytes, *, name: str, version: int) -> str:
        return _open(self._key, sealed, self._user_id, name, version).decode()

    def seal(self, value: bytes, *, purpose: str) -> bytes:
        """Encrypt a value that is not a named secret. Decrypting it requires the same `purpose`."""
        return _seal(self._key, value, self._user_id, "sealed", purpose)

    def unseal(self, sealed: bytes, *, purpose: str) -> bytes:
        return _open(self._key, sealed, self._user_id, "sealed", purpose)

    def digest(self, value: bytes, *, purpose: str) -> bytes:
        """A keyed 32-byte digest of a value, so that a guess cannot be checked without the key."""
        key = hmac.digest(self._key, _associated((self._user_id, "digest", purpose)), "sha256")
        return hmac.digest(key, value, "sha256")

    def __repr__(self) -> str:
        return "DataKey(•••)"


class KeyRing:
    """The keys of `VAULT_KEY`: the first wraps, all unwrap."""

    def __init__(self, keys: Mapping[str, bytes]) -> None:
        self.use(keys)

    def use(self, keys: Mapping[str, bytes]) -> None:
        """Replace the keys, while others use this ring."""
        self._keys = dict(keys)
        self.current_id = next(iter(self._keys))

    @property
    def ids(self) -> tuple[str, ...]:
        """The keys' ids, the current one first."""
        return tuple(self._keys)

    def new_data_key(self, user_id: str) -> tuple[DataKey, bytes]:
        """`(data key, wrapped key)`; store the wrapped key with `current_id`."""
        key = secrets.token_bytes(_KEY_BYTES)
        return DataKey(key, user_id), self._wrap(key, user_id)

    def unwrap(self, wrapped: bytes, *, key_id: str, user_id: str) -> DataKey:
        return DataKey(self._unwrap(wrapped, key_id, user_id), user_id)

    def rewrap(self, wrapped: bytes, *, key_id: str, user_id: str) -> bytes:
        """Wrap the same data key with the current key; the secrets do not change.

        Raises `Problem` if the key cannot be unwrapped.
        """
        return self._wrap(self._unwrap(wrapped, key_id, user_id), user_id)

    def seal(self, value: bytes, *, purpose: str) -> bytes:
        """Encrypt a value that is no user's, to store with `current_id`."""
        return _seal(self._keys[self.current_id], value, "installation", purpose)

    def unseal(self, sealed: bytes, *, key_id: str, purpose: str) -> bytes:
        """The value sealed by the key `key_id` for the same purpose. Raises `Problem`."""
        return _open(self._key(key_id), sealed, "installation", purpose)

    def _wrap(self, key: bytes, user_id: str) -> bytes:
        return _seal(self._keys[self.current_id], key, "data-key", user_id, self.current_id)

    def _unwrap(self, wrapped: bytes, key_id: str, user_id: str) -> bytes:
        return _open(self._key(key_id), wrapped, "data-key", user_id, key_id)

    def _key(self, key_id: str) -> bytes:
        key = self._keys.get(key_id)
        if key is None:
            raise Problem(
                503,
                "vault-key-missing",
                f"Secrets are encrypted under the key {key_id}, which VAULT_KEY does not hold. "
                "Operator: add it back after the current one.",
            )
        return key

    def __repr__(self) -> str:
        return f"KeyRing({', '.join(self._keys)})"
