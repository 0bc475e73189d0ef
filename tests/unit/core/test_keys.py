"""The grammar of keys and prefixes."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from zarrstore._core.keys import check_key, check_prefix, is_key
from zarrstore.errors import InvalidKeyError

_TEXT = st.text(alphabet=st.sampled_from("ab./\0\ud800é\\ "), max_size=12)


def _by_definition(text):
    segments = text.split("/")
    return (
        text != ""
        and all(segment not in ("", ".", "..") for segment in segments)
        and "\0" not in text
        and not any("\ud800" <= char <= "\udfff" for char in text)
    )


@given(_TEXT)
@example("a/.b")
@example("a/..b")
@example(".a")
@example("a/")
@example("é/")
@example("é/..")
def test_keys_are_what_the_grammar_says(text):
    assert is_key(text) == _by_definition(text)
    if _by_definition(text):
        check_key(text, "s")
    else:
        with pytest.raises(InvalidKeyError):
            check_key(text, "s")


@given(_TEXT)
def test_a_prefix_is_a_key_with_or_without_a_slash(text):
    if text in ("", "/"):
        assert check_prefix(text, "s") == ""
    elif _by_definition(text.removesuffix("/")):
        assert check_prefix(text, "s") == text.removesuffix("/") + "/"
    else:
        with pytest.raises(InvalidKeyError):
            check_prefix(text, "s")


@pytest.mark.parametrize("key", [None, 3, b"a", ["a", "b"], ("a",)])
def test_other_types_are_refused_by_name(key):
    with pytest.raises(InvalidKeyError, match=r"str|text"):
        check_key(key, "s")
    with pytest.raises(InvalidKeyError):
        check_prefix(key, "s")


def test_errors_name_store_key_and_cure():
    with pytest.raises(InvalidKeyError) as caught:
        check_key("../x", "file:///data")
    assert caught.value.key == "../x"
    assert caught.value.store == "file:///data"
    assert "segments joined by '/'" in caught.value.hint


def test_an_error_about_a_surrogate_can_be_printed():
    with pytest.raises(InvalidKeyError) as caught:
        check_key("a\ud800", "s")
    str(caught.value).encode()
