"""Errors: what they derive from, what they say, and that they survive pickling."""

import copy
import errno
import pickle

import pytest

from zarrstore import errors
from zarrstore.errors import BackendError, StoreError, from_os_error

BUILT_IN = {
    "AccessDeniedError": PermissionError,
    "BackendError": OSError,
    "ByteRequestError": ValueError,
    "ChangedError": RuntimeError,
    "CorruptError": ValueError,
    "DetachedError": ValueError,
    "ForkError": RuntimeError,
    "InvalidKeyError": ValueError,
    "KeyConflictError": FileExistsError,
    "KeyNotFoundError": FileNotFoundError,
    "LockedError": BlockingIOError,
    "MissingDependencyError": ImportError,
    "NoSpaceError": OSError,
    "ReadOnlyError": ValueError,
    "RefusedError": ValueError,
    "RootError": NotADirectoryError,
    "StoreError": Exception,
    "StoreLikeError": TypeError,
    "TransientError": OSError,
    "TruncatedError": OSError,
    "UnsupportedOperationError": NotImplementedError,
}
every = pytest.mark.parametrize("name", errors.__all__)


def make(name, **kwargs):
    return getattr(errors, name)("it broke.", store="file:///x", key="a/b", hint="Mend it.", **kwargs)


@every
def test_each_derives_from_the_built_in_that_callers_catch(name):
    kind = getattr(errors, name)
    assert issubclass(kind, StoreError)
    assert issubclass(kind, BUILT_IN[name])
    assert kind.__doc__
    with pytest.raises(BUILT_IN[name]):
        raise make(name)


def test_store_like_errors_are_both():
    assert issubclass(errors.StoreLikeError, ValueError)


@every
def test_the_text_names_key_store_and_cure(name):
    assert str(make(name)) == "it broke. [key 'a/b'] [store 'file:///x'] Mend it."
    assert str(getattr(errors, name)("it broke.")) == "it broke."


@every
def test_the_drawing_at_the_head_shows_it_with_its_built_in(name):
    line = next(line for line in errors.__doc__.splitlines() if f" {name} " in f" {line.strip('│├└─ ')} ")
    if name != "StoreError":
        assert BUILT_IN[name].__name__ in line


@every
@pytest.mark.parametrize(
    "again",
    [
        copy.copy,
        copy.deepcopy,
        *(
            lambda e, p=protocol: pickle.loads(pickle.dumps(e, p))
            for protocol in range(pickle.HIGHEST_PROTOCOL + 1)
        ),
    ],
)
def test_pickling(name, again):
    error = make(name)
    other = again(error)
    assert type(other) is type(error)
    assert str(other) == str(error)
    assert (other.message, other.store, other.key, other.hint) == (
        "it broke.",
        "file:///x",
        "a/b",
        "Mend it.",
    )


def test_a_store_is_kept_as_text():
    class Store:
        def __str__(self):
            return "memory://1"

    assert StoreError("x", store=Store()).store == "memory://1"


def test_backend_errors_keep_the_systems_number():
    error = pickle.loads(pickle.dumps(BackendError("x", errno=errno.EIO)))
    assert error.errno == errno.EIO
    assert BackendError("x").errno is None


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.ENOSPC, errors.NoSpaceError),
        (errno.EDQUOT, errors.NoSpaceError),
        (errno.EACCES, errors.AccessDeniedError),
        (errno.EROFS, errors.AccessDeniedError),
        (errno.ENAMETOOLONG, errors.InvalidKeyError),
        (errno.ETIMEDOUT, errors.TransientError),
        (errno.EIO, errors.BackendError),
    ],
)
def test_errors_of_the_system(number, kind):
    error = from_os_error(OSError(number, "some reason"), action="write", store="s", key="k")
    assert type(error) is kind
    assert "could not write" in str(error)
    assert "[key 'k'] [store 's']" in str(error)


def test_a_reason_is_found_even_where_the_system_gives_none():
    assert "could not read: OSError." in str(from_os_error(OSError(), action="read", store="s"))
    assert "could not read: broken." in str(from_os_error(OSError("broken"), action="read", store="s"))
