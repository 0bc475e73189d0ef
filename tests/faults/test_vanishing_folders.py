"""A folder that others remove while a value is written into it: the value is whole, or an error says so."""

import shutil

import pytest

from zarrstore._os import files as _files
from zarrstore.abc.store import ABSENT, ANY
from zarrstore.errors import StoreError
from zarrstore.storage import LocalStore

VALUE = b"a value in pieces"


@pytest.fixture(params=["plain", "confined", "confined without openat2"])
def store(request, tmp_path, monkeypatch):
    if request.param == "confined without openat2":
        monkeypatch.setattr(_files, "CAN_CONFINE", False)
    store = LocalStore(tmp_path / "root", follow_symlinks=request.param == "plain")
    store.set_sync("d/other", b"")
    return store


@pytest.fixture
def vanish(store, monkeypatch):
    """Have the folder vanish once, before the first call of a function."""

    def vanish(name):
        left = [store.root / "d"]
        real = getattr(_files, name)

        def call(*args):
            if left and (name != "open_patiently" or args[1] == _files.MAKE):
                shutil.rmtree(left.pop())
            return real(*args)

        monkeypatch.setattr(_files, name, call)
        return left

    return vanish


def in_pieces():
    for start in range(0, len(VALUE), 5):
        yield VALUE[start : start + 5]


def write(store, pieces, condition=ANY):
    return store._write("d/k", pieces, condition)


@pytest.mark.parametrize("condition", [ANY, ABSENT])
@pytest.mark.parametrize("pieces", [lambda: (VALUE,), in_pieces], ids=["whole", "in pieces"])
def test_it_vanishes_before_there_is_a_file_in_it(store, vanish, pieces, condition):
    left = vanish("open_patiently")
    assert write(store, pieces(), condition) is None
    assert not left
    assert list(store.list_sync()) == ["d/k"]
    assert store.get_sync("d/k").to_bytes() == VALUE


@pytest.mark.parametrize(("condition", "name"), [(ANY, "replace"), (ABSENT, "name_new")])
def test_it_vanishes_before_the_value_has_its_name(store, vanish, condition, name):
    left = vanish(name)
    assert write(store, (VALUE,), condition) is None
    assert not left
    assert store.get_sync("d/k").to_bytes() == VALUE


@pytest.mark.parametrize(("condition", "name"), [(ANY, "replace"), (ABSENT, "name_new")])
def test_pieces_that_are_used_up_are_no_empty_value(store, vanish, condition, name):
    left = vanish(name)
    with pytest.raises(StoreError):
        write(store, in_pieces(), condition)
    assert not left
    assert list(store.list_sync()) == []
