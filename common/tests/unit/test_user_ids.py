import pytest
from hypothesis import given
from hypothesis import strategies as st
from ocmt_common.user_ids import is_user_id


@pytest.mark.parametrize("good", ["a", "0", "maria", "3f1c9a52-2b7e-4c1e-9a52-0a0b0c0d0e0f", "a_b"])
def test_ordinary_ids_name_a_user(good: str) -> None:
    assert is_user_id(good)


@pytest.mark.parametrize(
    "bad",
    ["", ".", "..", "a/b", "a\\b", "-rf", "_x", "A", "a b", "a\n", "a\0", "é", "a" * 64, "%2f"],
)
def test_ids_that_could_form_a_path_or_flag_do_not(bad: str) -> None:
    assert not is_user_id(bad)


@given(st.text())
def test_no_accepted_id_can_leave_its_folder(text: str) -> None:
    if is_user_id(text):
        assert "/" not in text
        assert "." not in text
        assert text == text.strip().lower()
