"""Envelope encryption: a secret decrypts only under its own user, name and version."""

import copy
import pickle
import secrets

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ocmt_common.problems import Problem
from ocmt_management.vault.keys import DataKey, KeyRing
from ocmt_management.vault.secret_value import SecretValue

NAMES = st.text(min_size=1, max_size=20)


def ring(*ids: str) -> KeyRing:
    return KeyRing({key_id: secrets.token_bytes(32) for key_id in ids or ("k1",)})


@given(value=st.text(), name=NAMES, version=st.integers(1, 10**6))
def test_a_secret_comes_back_as_it_was(value: str, name: str, version: int) -> None:
    key, _ = ring().new_data_key("ada")

    sealed = key.encrypt(value, name=name, version=version)

    assert key.decrypt(sealed, name=name, version=version) == value
    assert sealed != key.encrypt(value, name=name, version=version)


@given(name=NAMES, other=NAMES, version=st.integers(1, 99), later=st.integers(1, 99))
def test_a_secret_opens_only_under_its_own_name_and_version(
    name: str, other: str, version: int, later: int
) -> None:
    key, _ = ring().new_data_key("ada")
    sealed = key.encrypt("value", name=name, version=version)
    if (name, version) == (other, later):
        return

    with pytest.raises(Problem, match="does not decrypt"):
        key.decrypt(sealed, name=other, version=later)


@given(flip=st.integers(0, 8 * 40 - 1))
def test_one_changed_bit_is_noticed(flip: int) -> None:
    key, _ = ring().new_data_key("ada")
    sealed = bytearray(key.encrypt("twelve chars", name="n", version=1))
    assert len(sealed) == 40
    sealed[flip // 8] ^= 1 << flip % 8

    with pytest.raises(Problem, match="does not decrypt"):
        key.decrypt(bytes(sealed), name="n", version=1)


def test_a_data_key_serves_only_its_user() -> None:
    keys = ring()
    _, wrapped = keys.new_data_key("ada")

    with pytest.raises(Problem, match="does not decrypt"):
        keys.unwrap(wrapped, key_id="k1", user_id="bob")


def test_a_missing_key_is_named_with_the_cure() -> None:
    _, wrapped = ring("old").new_data_key("ada")

    with pytest.raises(Problem, match=r"key old, which VAULT_KEY does not hold.*add it back"):
        ring("new").unwrap(wrapped, key_id="old", user_id="ada")


def test_rewrapping_keeps_the_data_key() -> None:
    old, new = secrets.token_bytes(32), secrets.token_bytes(32)
    key, wrapped = KeyRing({"old": old}).new_data_key("ada")
    sealed = key.encrypt("value", name="n", version=1)

    rewrapped = KeyRing({"new": new, "old": old}).rewrap(wrapped, key_id="old", user_id="ada")

    opened = KeyRing({"new": new}).unwrap(rewrapped, key_id="new", user_id="ada")
    assert opened.decrypt(sealed, name="n", version=1) == "value"


@given(value=st.binary(), purpose=NAMES)
def test_a_sealed_value_comes_back_as_it_was(value: bytes, purpose: str) -> None:
    key, _ = ring().new_data_key("ada")

    sealed = key.seal(value, purpose=purpose)

    assert key.unseal(sealed, purpose=purpose) == value
    assert sealed != key.seal(value, purpose=purpose)


@given(purpose=NAMES)
def test_a_sealed_value_opens_for_its_own_user_and_purpose_only(purpose: str) -> None:
    keys = ring()
    (key, _), (bobs, _) = keys.new_data_key("ada"), keys.new_data_key("bob")
    sealed = key.seal(b"value", purpose=purpose)

    with pytest.raises(Problem, match="does not decrypt"):
        bobs.unseal(sealed, purpose=purpose)
    with pytest.raises(Problem, match="does not decrypt"):
        key.unseal(sealed, purpose=purpose + "x")
    with pytest.raises(Problem, match="does not decrypt"):
        key.decrypt(sealed, name="sealed", version=1)


@given(value=st.binary(), other=st.binary(), purpose=NAMES)
def test_a_digest_finds_equal_values_of_one_user_and_purpose(
    value: bytes, other: bytes, purpose: str
) -> None:
    keys = ring()
    key, wrapped = keys.new_data_key("ada")
    again = keys.unwrap(wrapped, key_id="k1", user_id="ada")
    digest = key.digest(value, purpose=purpose)

    assert digest == again.digest(value, purpose=purpose)
    assert (digest == key.digest(other, purpose=purpose)) == (value == other)
    assert digest != key.digest(value, purpose=purpose + "x")
    assert digest != keys.new_data_key("bob")[0].digest(value, purpose=purpose)


def test_secrets_are_hidden_in_text_and_repr() -> None:
    key = secrets.token_bytes(32)
    value = SecretValue("sk-abcdefghijklmnop")
    shown = f"{value!r} {value} {DataKey(key, 'ada')!r} {KeyRing({'k1': key})!r}"

    assert "sk-" not in shown
    assert repr(key) not in shown
    with pytest.raises(TypeError):
        pickle.dumps(value)
    with pytest.raises(TypeError):
        copy.copy(value)
    with pytest.raises(TypeError):
        hash(value)


@pytest.mark.parametrize(
    ("secret", "hint"), [("x" * 16 + "abcd", "abcd"), ("x" * 15 + "abcd", None), ("", None)]
)
def test_a_hint_is_shown_of_long_secrets_only(secret: str, hint: str | None) -> None:
    assert SecretValue(secret).hint == hint
