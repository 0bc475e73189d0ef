"""FsspecStore: how it is made, where its calls are made, and the traps of what is below it."""

import asyncio
import inspect
import json
import os
import pickle
import threading
import warnings

import fsspec
import pytest
from adlfs import AzureBlobFileSystem
from bucket_fs import BUCKETS, BucketFileSystem, ClientError, refused
from fsspec.implementations.asyn_wrapper import AsyncFileSystemWrapper
from fsspec.implementations.dirfs import DirFileSystem
from fsspec.implementations.local import LocalFileSystem
from fsspec.implementations.memory import MemoryFileSystem
from gcsfs import GCSFileSystem
from s3fs import S3FileSystem
from scripted_server import azure_error, on, scripted_server

from zarrstore import RetryPolicy, errors
from zarrstore.abc.store import OffsetByteRequest, RangeByteRequest, SuffixByteRequest
from zarrstore.errors import (
    AccessDeniedError,
    BackendError,
    ByteRequestError,
    InvalidKeyError,
    KeyConflictError,
    RefusedError,
    TransientError,
    TruncatedError,
    UnsupportedOperationError,
)
from zarrstore.storage import ALLOWED_EXCEPTIONS, FsspecStore, LocalStore


@pytest.fixture
def bucket():
    BUCKETS["b"] = {}
    yield BUCKETS["b"]
    BUCKETS.clear()


@pytest.fixture
def plan():
    return {}


@pytest.fixture
def store(bucket, plan):
    return FsspecStore(
        BucketFileSystem(asynchronous=True, plan=plan, secret="hush"), path="b/root", retry=None
    )


async def _collect(listing):
    return sorted([name async for name in listing])


# -- how it is made -------------------------------------------------------------------------------


def test_allowed_exceptions_are_the_three_of_the_listing():
    assert ALLOWED_EXCEPTIONS == (FileNotFoundError, IsADirectoryError, NotADirectoryError)


def test_attributes_are_what_was_given(store):
    assert isinstance(store.fs, BucketFileSystem)
    assert store.path == "b/root"
    assert store.allowed_exceptions == ALLOWED_EXCEPTIONS
    assert not store.read_only
    assert (store.supports_writes, store.supports_deletes, store.supports_listing) == (True, True, True)
    assert store.supports_partial_writes is False


def test_file_system_that_blocks_is_a_type_error():
    with pytest.raises(TypeError, match="Filesystem needs to support async operations"):
        FsspecStore(MemoryFileSystem())


def test_path_with_a_scheme_is_a_value_error(bucket):
    with pytest.raises(ValueError, match=r"path argument to FsspecStore must not include scheme \(s3\)"):
        FsspecStore(BucketFileSystem(asynchronous=True), path="s3://b/root")
    with pytest.raises(ValueError, match=r"scheme \(file\)"):
        FsspecStore(AsyncFileSystemWrapper(LocalFileSystem(), asynchronous=True), path="file:///x")


def test_not_asynchronous_warns(bucket):
    with pytest.warns(UserWarning, match=r".* was not created with `asynchronous=True`.*"):
        store = FsspecStore(BucketFileSystem(), path="b")
    store.set_sync("k", b"v")  # works all the same
    assert bucket == {"k": b"v"}


def test_from_url_wraps_what_blocks(tmp_path):
    store = FsspecStore.from_url(f"memory://{tmp_path}")
    assert isinstance(store.fs, AsyncFileSystemWrapper)
    assert store.fs.asynchronous
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        FsspecStore.from_url(f"file://{tmp_path}", read_only=True)


def test_from_url_takes_chains(tmp_path):
    plain = FsspecStore.from_url(f"memory://{tmp_path}/inner")
    plain.set_sync("a/k", b"v")
    chained = FsspecStore.from_url("dir::memory://", storage_options={"path": f"{tmp_path}/inner"})
    assert chained.get_sync("a/k").to_bytes() == b"v"


def test_a_view_of_a_folder_is_that_folder(tmp_path):
    view = DirFileSystem(f"{tmp_path}/seen", LocalFileSystem())
    store, folder = FsspecStore.from_mapper(view.get_mapper("root")), LocalStore(tmp_path / "seen/root")
    store.set_sync("a/k", b"v")
    assert folder.get_sync("a/k").to_bytes() == b"v"
    assert store.capabilities == folder.capabilities
    assert store._place("") == folder._place("")


def test_from_mapper(tmp_path):
    mapper = fsspec.get_mapper(f"memory://{tmp_path}/m")
    mapper["a/k"] = b"v"
    store = FsspecStore.from_mapper(mapper, read_only=True)
    assert store.get_sync("a/k").to_bytes() == b"v"
    assert store.read_only


def test_from_upath(tmp_path):
    from upath import UPath

    path = UPath(f"memory://{tmp_path}/u")
    (path / "a").mkdir(parents=True)
    (path / "a" / "k").write_bytes(b"v")
    store = FsspecStore.from_upath(path)
    assert store.get_sync("a/k").to_bytes() == b"v"


def test_relative_root_stays_where_it_was(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    store = FsspecStore(AsyncFileSystemWrapper(LocalFileSystem(), asynchronous=True), path="data")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    store.set_sync("k", b"v")
    assert (tmp_path / "data" / "k").read_bytes() == b"v"


def test_open_opens(bucket):
    fs = BucketFileSystem(asynchronous=True)
    store = asyncio.run(FsspecStore.open(fs, path="b"))
    assert store._is_open


# -- identity -------------------------------------------------------------------------------------


def test_text_forms_keep_secrets(store):
    assert str(store) == "s3://b/root"
    assert "hush" not in repr(store) + str(store.__dask_tokenize__())
    url = FsspecStore.from_url("http://user:word@host/data?token=abc")
    assert str(url) == "http://host/data"


def test_equality_goes_by_place_rights_and_server(bucket):
    def make(**options):
        return FsspecStore(BucketFileSystem(asynchronous=True, **options), path="b")

    assert make() == make()
    assert hash(make()) == hash(make())
    assert make() != make(secret="x")
    assert make().__dask_tokenize__() != make(secret="x").__dask_tokenize__()
    assert make() != make().with_read_only(True)


def test_equal_though_made_in_another_thread(tmp_path):
    made = []
    thread = threading.Thread(target=lambda: made.append(FsspecStore.from_url(f"memory://{tmp_path}")))
    thread.start()
    thread.join()
    assert made == [FsspecStore.from_url(f"memory://{tmp_path}")]


@pytest.mark.skipif(
    "global_store" not in inspect.signature(MemoryFileSystem.__init__).parameters,
    reason="this fsspec has one memory for all",
)
def test_memory_file_systems_of_their_own_are_not_equal():
    def make():
        fs = MemoryFileSystem(global_store=False, skip_instance_cache=True)
        return FsspecStore(AsyncFileSystemWrapper(fs, asynchronous=True), path="/x")

    assert make() != make()


def test_pickle_carries_the_users_file_system_and_nothing_that_lives(store):
    store.set_sync("k", b"v")
    revived = pickle.loads(pickle.dumps(store))
    assert revived == store
    assert "client" not in vars(revived._files)
    assert revived.get_sync("k").to_bytes() == b"v"


# -- where calls are made -------------------------------------------------------------------------


def test_one_store_serves_many_loops_and_threads(store):
    asyncio.run(store.set("k", b"v"))
    for _ in range(2):
        assert asyncio.run(store.get("k")).to_bytes() == b"v"
    answers = []
    threads = [
        threading.Thread(target=lambda: answers.append(asyncio.run(store.get("k")).to_bytes()))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [b"v"] * 4
    assert store.get_sync("k").to_bytes() == b"v"
    assert store.fs.home is None  # the user's own was never used


def test_sync_face_works_inside_a_running_loop(store):
    async def inside():
        store.set_sync("k", b"v")
        return store.get_sync("k").to_bytes(), list(store.list_sync())

    assert asyncio.run(inside()) == (b"v", ["k"])


def test_equal_file_systems_share_connections(bucket):
    class Cachable(BucketFileSystem):
        cachable = True

    fs = Cachable(asynchronous=True)
    one, other = FsspecStore(fs, path="b"), FsspecStore(fs, path="b/sub")
    assert one._files.client is other._files.client
    assert one.with_read_only(True)._files.client is one._files.client
    assert one._files.client is not fs


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("kind", ["awaiting", "blocking"])
def test_forked_child_can_go_on(store, tmp_path, kind):
    if kind == "blocking":
        store = FsspecStore.from_url(f"file://{tmp_path}/root")
    store.set_sync("k", b"v")
    reader, writer = os.pipe()
    pid = os.fork()
    if not pid:
        answer = b"no"
        try:
            answer = store.get_sync("k").to_bytes() + asyncio.run(store.get("k")).to_bytes()
        finally:
            os.write(writer, answer)
            os._exit(0)
    os.waitpid(pid, 0)
    os.close(writer)
    with os.fdopen(reader, "rb") as file:
        assert file.read() == b"vv"
    assert store.get_sync("k").to_bytes() == b"v"


def test_cancelled_write_has_happened_or_never_will(store, plan, bucket):
    begun, release = threading.Event(), threading.Event()

    def slowly(value):
        begun.set()
        release.wait(5)
        return value

    plan["pipe_file"] = slowly

    async def cancel():
        task = asyncio.ensure_future(store.set("k", b"old"))
        await asyncio.to_thread(begun.wait)
        task.cancel()
        await asyncio.sleep(0.05)
        assert not task.done()  # its effect may yet come
        release.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert bucket == {"root/k": b"old"}
        await store.set("k", b"new")

    asyncio.run(cancel())
    assert bucket == {"root/k": b"new"}


def test_listings_are_never_answered_from_a_cache(store, bucket):
    store.set_sync("a/k", b"v")
    assert list(store.list_sync()) == ["a/k"]
    bucket["root/a/other"] = b"x"
    assert sorted(store.list_sync()) == ["a/k", "a/other"]
    del bucket["root/a/k"]
    assert not store.exists_sync("a/k")


# -- traps ----------------------------------------------------------------------------------------


def test_delete_takes_no_patterns(store, bucket):
    for key in ("c1", "c2", "c*"):
        store.set_sync(key, b"v")
    store.delete_sync("c*")
    assert sorted(bucket) == ["root/c1", "root/c2"]
    store.delete_sync("c?")
    asyncio.run(store.delete_dir("c*"))
    assert sorted(bucket) == ["root/c1", "root/c2"]


def test_delete_dir_of_patterns_on_files(tmp_path):
    store = FsspecStore.from_url(f"memory://{tmp_path}/glob")
    for key in ("c1/x", "c2/x", "c*/x"):
        store.set_sync(key, b"v")
    store.delete_dir_sync("c*")
    assert sorted(store.list_sync()) == ["c1/x", "c2/x"]


def test_ranges_that_select_nothing(store):
    class Foreign:
        start = end = 0

    store.set_sync("k", b"12345")
    assert store.get_sync("k", byte_range=Foreign()).to_bytes() == b""  # fsspec reads 0 to 0 as "all"
    assert store.get_sync("missing", byte_range=Foreign()) is None
    with pytest.raises(ByteRequestError):
        store.get_sync("k", byte_range=RangeByteRequest(0, 0))


def test_ranges_past_the_end(store):
    store.set_sync("k", b"12345")
    store.set_sync("empty", b"")
    assert store.get_sync("k", byte_range=RangeByteRequest(3, 99)).to_bytes() == b"45"
    assert store.get_sync("k", byte_range=SuffixByteRequest(99)).to_bytes() == b"12345"
    assert store.get_sync("empty", byte_range=SuffixByteRequest(2)).to_bytes() == b""
    for request in (RangeByteRequest(5, 9), OffsetByteRequest(5)):
        with pytest.raises(ByteRequestError, match="at or past the end") as caught:
            store.get_sync("k", byte_range=request)
        assert caught.value.key == "k"


def test_short_answers_are_errors(store, plan):
    store.set_sync("k", b"0123456789")
    plan["cat_file"] = lambda value: value[:3]
    for request in (RangeByteRequest(0, 8), SuffixByteRequest(8)):
        with pytest.raises(TruncatedError, match="3 bytes arrived") as caught:
            store.get_sync("k", byte_range=request)
        assert (caught.value.key, caught.value.store) == ("k", "s3://b/root")


def test_answer_that_ignores_the_range_is_cut(store, plan):
    store.set_sync("k", b"0123456789")
    plan["cat_file"] = lambda value: b"0123456789"
    assert store.get_sync("k", byte_range=RangeByteRequest(2, 4)).to_bytes() == b"23"


def test_missing_bucket_is_no_missing_key(bucket):
    store = FsspecStore(BucketFileSystem(asynchronous=True), path="other/root")
    for call in (
        lambda: store.get_sync("k"),
        lambda: store.exists_sync("k"),
        lambda: list(store.list_sync()),
        store.is_empty_sync,
        lambda: store.set_sync("k", b"v"),
        lambda: store.delete_sync("k"),
        store.clear_sync,
    ):
        with pytest.raises(BackendError, match="bucket or container does not exist"):
            call()


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (refused(PermissionError, "Access Denied", "AccessDenied", 403), AccessDeniedError),
        (refused(OSError, "Please reduce your request rate.", "SlowDown", 503), TransientError),
        (ConnectionResetError("reset"), TransientError),
        (TimeoutError(), TransientError),
        (ClientError("Teapot", 418), BackendError),
        (ValueError("what"), BackendError),
    ],
)
def test_failures_are_never_missing_data(store, plan, error, kind):
    store.set_sync("d/k", b"v")
    for name, call in (
        ("cat_file", lambda: store.get_sync("d/k")),
        ("info", lambda: store.exists_sync("d/k")),
        ("ls", lambda: list(store.list_sync())),
        ("ls", lambda: list(store.list_dir_sync("d"))),
        ("ls", store.is_empty_sync),
        ("ls", lambda: store.delete_dir_sync("d")),
        ("pipe_file", lambda: store.set_sync("d/k", b"w")),
        ("rm_file", lambda: store.delete_sync("d/k")),
    ):
        plan[name] = error
        with pytest.raises(kind) as caught:
            call()
        assert type(caught.value) is kind
        assert caught.value.store == "s3://b/root"
        assert caught.value.__cause__ is error
        del plan[name]
    assert store.get_sync("d/k").to_bytes() == b"v"


def test_listing_that_fails_below_raises(store, plan, bucket):
    store.set_sync("a/k", b"v")
    store.set_sync("z", b"v")

    def fail_below(answer):
        if plan["calls"][-1][1].endswith("/a"):
            raise refused(PermissionError, "Access Denied", "AccessDenied", 403)
        return answer

    plan["ls"] = fail_below
    with pytest.raises(AccessDeniedError):
        list(store.list_sync())


def test_allowed_exceptions_add_to_what_is_missing(bucket):
    denied = refused(PermissionError, "Access Denied", "AccessDenied", 403)
    fs = BucketFileSystem(asynchronous=True, plan={"cat_file": denied})
    store = FsspecStore(fs, path="b", allowed_exceptions=(*ALLOWED_EXCEPTIONS, PermissionError))
    assert store.get_sync("k") is None


@pytest.mark.parametrize("url", ["file:///", "file:///.."])
def test_root_of_a_file_system_is_not_cleared(url):
    store = FsspecStore(AsyncFileSystemWrapper(LocalFileSystem(), asynchronous=True), path=url[7:])
    for call in (store.clear_sync, lambda: store.delete_dir_sync(""), lambda: store.delete_dir_sync("/")):
        with pytest.raises(RefusedError):
            call()


def test_all_buckets_are_not_cleared(bucket):
    bucket["k"] = b"v"
    store = FsspecStore(BucketFileSystem(asynchronous=True))
    assert store.get_sync("b/k").to_bytes() == b"v"
    with pytest.raises(RefusedError):
        store.clear_sync()
    assert bucket == {"k": b"v"}


def test_clear_spares_the_bucket_and_what_is_beside_the_root(store, bucket):
    store.set_sync("a/b", b"v")
    bucket["root2/k"] = bucket["root"] = b"x"
    store.clear_sync()
    assert bucket == {"root2/k": b"x", "root": b"x"}


def test_keys_that_would_land_elsewhere_are_refused(store, bucket):
    with pytest.raises(InvalidKeyError):
        store.set_sync("a?versionId=1", b"v")
    assert bucket == {}


def test_create_is_one_conditional_request(store, plan, bucket):
    assert store.capabilities.atomic_create
    plan["calls"].clear()
    assert store.create_sync("k", b"1") is True
    assert store.create_sync("k", b"2") is False
    assert [name for name, _ in plan["calls"]] == ["pipe_file", "pipe_file"]
    assert bucket == {"root/k": b"1"}


def test_create_that_met_another_is_tried_again(store, plan, bucket):
    tries = []

    def contend(value):
        tries.append(1)
        if len(tries) < 3:
            raise refused(OSError, "conflict", "ConditionalRequestConflict", 409)
        return value

    plan["pipe_file"] = contend
    with pytest.raises(errors.TransientError, match="ConditionalRequestConflict"):
        store.create_sync("k", b"1")  # whose user has said that nothing is to be tried again
    again = RetryPolicy(attempts=3, base=0.001)
    assert FsspecStore(store.fs, path="b/root", retry=again).create_sync("k", b"1") is True
    assert len(tries) == 3


def test_create_without_the_servers_help_says_so(tmp_path):
    store = FsspecStore.from_url(f"memory://{tmp_path}/c")
    assert not store.capabilities.atomic_create
    assert store.create_sync("k", b"1") is True
    assert store.create_sync("k", b"2") is False


def test_byte_range_of_set_is_unsupported(store, bucket):
    with pytest.raises(UnsupportedOperationError):
        asyncio.run(store.set("k", b"v", (0, 1)))
    with pytest.raises(NotImplementedError):
        asyncio.run(store.set_partial_values([("k", 0, b"v")]))
    asyncio.run(store.set("k", b"v", None))
    assert bucket == {"root/k": b"v"}


def test_local_parents_are_made(tmp_path):
    class Other(LocalFileSystem):
        pass

    for fs in (LocalFileSystem(), Other()):
        root = tmp_path / type(fs).__name__
        store = FsspecStore(AsyncFileSystemWrapper(fs, asynchronous=True), path=str(root))
        store.set_sync("a/b/c", b"v")
        assert (root / "a/b/c").read_bytes() == b"v"
        with pytest.raises(KeyConflictError):
            store.set_sync("a/b", b"v")
        with pytest.raises(KeyConflictError):
            store.set_sync("a/b/c/d", b"v")


def test_written_data_is_found_by_fsspec_and_the_reverse(tmp_path):
    store = FsspecStore.from_url(f"memory://{tmp_path}/both")
    store.set_sync("a/k", b"v")
    fs = fsspec.filesystem("memory")
    assert fs.cat_file(f"{tmp_path}/both/a/k") == b"v"
    fs.pipe_file(f"{tmp_path}/both/b", b"w")
    assert store.get_sync("b").to_bytes() == b"w"


@pytest.mark.parametrize(
    "key", ["NoSuchBucket/zarr.json", "bucket does not exist", "a/range not satisfiable"]
)
def test_words_in_a_key_are_no_words_of_the_server(key):
    """The error of a missing file is its path, which may read like any error there is."""
    store = FsspecStore.from_url("memory://words")
    assert store.get_sync(key) is None
    assert store.get_sync(key, byte_range=RangeByteRequest(5, 9)) is None
    assert not store.exists_sync(key)
    store.set_sync(key, b"12")
    with pytest.raises(ByteRequestError):
        store.get_sync(key, byte_range=RangeByteRequest(5, 9))
    store.clear_sync()


@pytest.mark.parametrize("own", [None, "mine/1"])
def test_s3_hears_who_asks(own):
    given = {} if own is None else {"user_agent": own}
    fs = S3FileSystem(asynchronous=True, anon=True, config_kwargs=dict(given))
    told = FsspecStore(fs, path="bucket/path")._files.client.config_kwargs["user_agent"]
    assert told == own or (own is None and told.startswith("zarrstore/"))
    assert fs.config_kwargs == given


class BeforeReadsInParts(S3FileSystem):
    """As it was before s3fs 2026.6."""

    async def _cat_file(self, path, version_id=None, start=None, end=None):
        return await super()._cat_file(path, version_id, start, end)


@pytest.mark.parametrize("kind", [S3FileSystem, BeforeReadsInParts])
def test_s3_reads_a_value_whether_or_not_s3fs_could_read_it_in_parts(kind):
    with scripted_server() as told:
        told.table = [(on(method, path="/k"), (200, b"value", {"ETag": '"1"'})) for method in ("HEAD", "GET")]
        fs = kind(asynchronous=True, skip_instance_cache=True, **told.s3.fsspec_options())
        with FsspecStore(fs, path="b/p") as store:
            assert store.get_sync("k").to_bytes() == b"value"
        if kind is S3FileSystem:
            assert [request.method for request in told.requests] == ["GET"]


class BeforeBatchAddresses(GCSFileSystem):
    """As it was before gcsfs 2026.1."""

    batch_url_base = None


def test_google_s_bulk_deletes_need_no_recent_gcsfs():
    listing = {"items": [{"name": f"p/{number}", "size": "1"} for number in range(2)]}
    answers = "".join(f"Content-ID: <response-{number}>\r\n\r\nHTTP/1.1 204 x\r\n\r\n" for number in range(2))
    with scripted_server() as told:
        told.table = [
            (on("GET", path="/o"), (200, json.dumps(listing))),
            (on("POST", path="/batch/storage/v1"), (200, answers)),
        ]
        fs = BeforeBatchAddresses(asynchronous=True, skip_instance_cache=True, **told.gcs.fsspec_options())
        with FsspecStore(fs, path="b/p") as store:
            store.clear_sync()
    assert told.unforeseen == []
    assert told.requests[-1].method == "POST"


class BeforeDeletes(AzureBlobFileSystem):
    """As it was before adlfs 2026.2."""

    async def _rm_file(self, path, **kwargs):
        raise NotImplementedError


def test_azure_s_deletes_need_no_recent_adlfs():
    with scripted_server() as told:
        told.table = [
            (on("DELETE", path="/b/p/k"), (202, b"")),
            (on("DELETE", path="/b/p/lost"), azure_error(404, "BlobNotFound")),
        ]
        fs = BeforeDeletes(asynchronous=True, skip_instance_cache=True, **told.azure.fsspec_options())
        with FsspecStore(fs, path="b/p") as store:
            store.delete_sync("k")
            store.delete_sync("lost")
    assert told.unforeseen == []
    assert [request.method for request in told.requests] == ["DELETE", "DELETE"]
