"""Archives answer every question of the contract, however they were opened."""

import io
import zipfile

import pytest
from hypothesis import HealthCheck, settings

from zarrstore.errors import UnsupportedOperationError
from zarrstore.storage import MemoryStore, StorePath, ZipStore
from zarrstore.testing import QUESTIONS, StoreContract, run_machine

READING = tuple(question for question in QUESTIONS if "write" not in question.needs.split())


@pytest.fixture
def path(tmp_path):
    return tmp_path / "data.zip"


class _Archive(StoreContract):
    @pytest.fixture
    def opened(self, path):
        return ZipStore(path, mode="w", deletes=True)

    @pytest.fixture
    def store(self, opened):
        with opened:
            yield opened


class TestNew(_Archive):
    pass


class TestReopened(_Archive):
    """With a directory and an end record in it already, behind which everything goes."""

    @pytest.fixture
    def opened(self, path):
        with ZipStore(path, mode="w", deletes=True) as store:
            store.set_sync("before", b"1")
            store.delete_sync("before")
        return ZipStore(path, mode="a", deletes=True)


class TestWithoutDeletes(StoreContract):
    questions = tuple(question for question in QUESTIONS if "delete" not in question.needs.split())[::4]
    questions += tuple(question for question in QUESTIONS if question.name == "deleting_refused")

    @pytest.fixture
    def store(self, path):
        with ZipStore(path, mode="w") as store:
            yield store


class TestInAFile(_Archive):
    """Written into an open file when it is closed. It can't be pickled, which one question wants."""

    faces = ("await",)
    questions = tuple(question for question in QUESTIONS if question.name != "identity")[::3]

    @pytest.fixture
    def opened(self):
        return ZipStore(io.BytesIO(), mode="w", deletes=True)


# Both faces are one body, so what differs below the verbs is asked once.


class TestCompressed(_Archive):
    faces = ("await",)

    @pytest.fixture
    def opened(self, path):
        return ZipStore(path, mode="x", deletes=True, compression=zipfile.ZIP_DEFLATED)


class TestMapped(_Archive):
    """Over what another program made; and verified, so that nothing is answered in place."""

    faces = ("await",)

    @pytest.fixture
    def opened(self, path):
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("folder/", b"")
            archive.comment = b"by another program"
        return ZipStore(path, mode="a", deletes=True, mmap=True, verify=True)


class TestWritableView(_Archive):
    faces = ("block",)

    @pytest.fixture
    def opened(self, path):
        return ZipStore(path, mode="a", read_only=True, deletes=True).with_read_only(False)


class TestReadOnlyView(_Archive):
    """Beside the store that writes."""

    questions = READING

    @pytest.fixture
    def opened(self, path):
        self.writer = ZipStore(path, mode="w", deletes=True)
        return self.writer.with_read_only(True)


class TestWithinAStore(_Archive):
    """An archive that is a value of another store, which can only be read; that is read once, and empty."""

    questions = tuple(question for question in READING if "seed" not in question.needs.split())

    @pytest.fixture
    def opened(self, path):
        with ZipStore(path, mode="w", deletes=True) as store:
            store.set_sync("k", b"1")
            store.delete_sync("k")
        outer = MemoryStore()
        outer.set_sync("a.zip", path.read_bytes())
        return ZipStore(StorePath(outer, "a.zip"))


@pytest.mark.parametrize("options", [{"deletes": True}, {"deletes": True, "compression": 8}, {}])
def test_any_history_of_calls(options, tmp_path_factory):
    run_machine(
        lambda: ZipStore(tmp_path_factory.mktemp("machine") / "a.zip", mode="w", **options),
        settings=settings(
            max_examples=30,
            stateful_step_count=30,
            deadline=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_deletes_are_off_by_default(path):
    store = ZipStore(path, mode="w")
    assert not store.supports_deletes
    assert not ZipStore.supports_deletes
    store.set_sync("a/b", b"1")
    for call in (lambda: store.delete_sync("a/b"), lambda: store.delete_dir_sync("a")):
        with pytest.raises(UnsupportedOperationError, match="without deletes"):
            call()
    store.delete_sync("missing")
    store.delete_dir_sync("missing")
    assert store.get_sync("a/b").to_bytes() == b"1"
    assert not store.with_read_only(True).supports_deletes
    assert ZipStore(path, deletes=True).supports_deletes
