"""Which test shows which sentence of the listing: `ROWS` holds ``(class or Class.member, sentence, test)``.

A test is a file and a name, ``tests/unit/test_x.py::test_y``; in a class of contract tests it is a question:
``tests/contract/test_stores.py::TestLocal::key_refused``. Sentences that several classes share are said
once, in `SHARED`, and shown for each class by its contract tests.
"""

CONTRACT = {
    "FsspecStore": "tests/contract/test_fsspec_stores.py::TestFsspecMemory",
    "GpuMemoryStore": "tests/contract/test_wrapping_stores.py::TestGpuMemory",
    "LocalStore": "tests/contract/test_stores.py::TestLocal",
    "LoggingStore": "tests/contract/test_wrapping_stores.py::TestLogging",
    "MemoryStore": "tests/contract/test_stores.py::TestMemory",
    "WrapperStore": "tests/contract/test_stores.py::TestWrapper",
    "ZipStore": "tests/contract/test_views_contract.py::TestZip",
}

# Member, sentence, question of the contract.
SHARED = [
    ("clear", "Removes all keys and values.", "root_cleared"),
    ("close", "Closes the store.", "closing"),
    ("delete", "Removes a key.", "emptied_directory_is_gone"),
    ("delete_dir", "Removes all keys below a prefix.", "directory_deleted"),
    ("exists", "Says whether a key exists.", "value_round_trip"),
    ("exists", "Says whether a key exists.", "no_such_value"),
    ("get", "Retrieves the value of a key; all of it if no bytes are asked for.", "value_round_trip"),
    ("get", "A range gives exactly the bytes asked for; its end is exclusive.", "range_selects"),
    ("get", "A zero-length range is an error.", "range_wrong_by_itself"),
    ("get", "A range that starts after the end is an error.", "range_past_the_end"),
    ("get", "A range that ends after the end gives the remainder.", "range_selects"),
    ("get", "An offset gives all bytes from there on.", "range_selects"),
    ("get", "A suffix gives the last bytes.", "range_selects"),
    ("get_partial_values", "Retrieves parts in the order asked, None for missing keys.", "many_values"),
    ("get_partial_values", "A key may occur many times, with different ranges.", "many_values"),
    ("getsize", "Returns the size of a value in bytes.", "value_round_trip"),
    ("getsize", "A missing key is a FileNotFoundError.", "no_such_value"),
    ("getsize_prefix", "Returns the sum of the sizes of all values below.", "prefix_is_a_directory"),
    ("is_empty", "Says whether nothing is below a prefix.", "prefix_is_a_directory"),
    ("is_empty", "True if the store is empty.", "empty_store"),
    ("list", "Retrieves all keys.", "many_keys_listed"),
    ("list_dir", "Retrieves names one level below a prefix, without slashes.", "directory_lists"),
    ("list_prefix", "Retrieves keys below a prefix, relative to the root.", "prefix_is_a_directory"),
    ("read_only", "Says whether the store is read-only.", "read_only_refuses"),
    ("set", "Stores a value under a key.", "value_round_trip"),
    ("set", "Stores a value under a key.", "value_replaced"),
    ("set_if_not_exists", "Stores a value only if the key has none.", "created_once"),
    ("set_partial_values", "Writes parts of values, each from a byte on.", "parts_written"),
    ("set_partial_values", "Ranges of one key must not overlap.", "parts_refused"),
]

_FSSPEC = "tests/unit/remote/test_fsspec_store.py::test_"
_GPU = "tests/unit/buffers/test_gpu_names.py::test_"
_LOGGING = "tests/unit/wrappers/test_logging.py::test_"
_PATH = "tests/unit/places/test_path.py::test_"
_ZIP = "tests/unit/zip/test_zip_store.py::test_"
_ZIP_WRITER = "tests/unit/zip/test_zip_writer.py::test_"
_LISTED = "tests/zarr_storage_listing/test_listing.py::test_member_is_as_listed"

OWN = [
    ("FsspecStore", "Works on any awaiting file system of fsspec's.", _FSSPEC + "one_store_serves_many_loops_and_threads"),
    ("FsspecStore", "May be read-only.", _FSSPEC + "from_mapper"),
    ("FsspecStore", "The path has no scheme; one is a ValueError.", _FSSPEC + "path_with_a_scheme_is_a_value_error"),
    ("FsspecStore", "A relative path is allowed.", _FSSPEC + "relative_root_stays_where_it_was"),
    ("FsspecStore", "Allowed exceptions mean missing keys.", _FSSPEC + "allowed_exceptions_add_to_what_is_missing"),
    ("FsspecStore", "A file system without async operations is a TypeError.", _FSSPEC + "file_system_that_blocks_is_a_type_error"),
    ("FsspecStore", "One not made with asynchronous=True is a UserWarning.", _FSSPEC + "not_asynchronous_warns"),
    ("FsspecStore.from_upath", "Makes a store from a universal path.", _FSSPEC + "from_upath"),
    ("FsspecStore.from_url", "Makes a store from a URL and storage options.", _FSSPEC + "from_url_wraps_what_blocks"),
    ("FsspecStore.from_url", "Makes a store from a URL and storage options.", _FSSPEC + "from_url_takes_chains"),
    ("FsspecStore.set", "Takes byte_range by position; it can't be honoured.", _FSSPEC + "byte_range_of_set_is_unsupported"),
    ("FsspecStore.set_partial_values", "Isn't possible on these file systems.", _FSSPEC + "byte_range_of_set_is_unsupported"),
    ("FsspecStore.fs", "Is the file system that was given.", _FSSPEC + "attributes_are_what_was_given"),
    ("FsspecStore.path", "Is the path that was given.", _FSSPEC + "attributes_are_what_was_given"),
    ("FsspecStore.allowed_exceptions", "Are those that were given.", _FSSPEC + "attributes_are_what_was_given"),
    ("GpuMemoryStore", "Every value is in GPU memory, wherever it came from.", _GPU + "every_value_is_on_the_device"),
    ("GpuMemoryStore", "The dictionary must hold GPU buffers.", _GPU + "from_dict_copies_and_the_constructor_does_not"),
    ("GpuMemoryStore.set", "Moves a buffer to the GPU if necessary.", _GPU + "every_value_is_on_the_device"),
    ("GpuMemoryStore.set", "Takes a byte_range.", _GPU + "partial_writes"),
    ("GpuMemoryStore.from_dict", "Moves buffers at any location to the GPU.", _GPU + "from_dict_copies_and_the_constructor_does_not"),
    ("GpuMemoryStore.from_dict", "The store's dictionary isn't the one given.", _GPU + "from_dict_copies_and_the_constructor_does_not"),
    ("LocalStore", "A folder is the root of the store.", "tests/unit/local/test_local.py::test_only_a_write_creates_the_root"),
    ("LocalStore.root", "Is the folder.", "tests/unit/local/test_local.py::test_the_root_is_the_folder"),
    ("LocalStore.delete", "Of a directory, removes the whole directory.", "tests/contract/test_stores.py::TestLocal::deleting_a_directory_by_delete"),
    ("LoggingStore", "Logs all calls to the wrapped store.", _LOGGING + "a_call_is_two_records"),
    ("LoggingStore", "Logs all calls to the wrapped store.", _LOGGING + "no_public_method_goes_unwatched"),
    ("LoggingStore.counter", "Counts the calls of each method.", _LOGGING + "every_public_method_is_counted_once"),
    ("LoggingStore.log_level", "Is the level of the logger.", _LOGGING + "level_above_info_is_silent"),
    ("LoggingStore.log_handler", "Gets the records.", _LOGGING + "a_call_is_two_records"),
    ("LoggingStore.log", "Logs and counts what is done inside it.", _LOGGING + "log_takes_the_callers_name"),
    ("LoggingStore.open", "Makes and opens a store from constructor arguments.", _LOGGING + "open_takes_the_wrappers_keywords_out"),
    ("MemoryStore", "Takes initial data.", "tests/unit/memory/test_memory.py::test_a_callers_mapping_is_used_and_may_change"),
    ("MemoryStore.set", "Takes a byte_range.", "tests/contract/test_stores.py::TestMemory::range_written"),
    ("StorePath", "Is a path within a store.", _PATH + "text_forms_and_joining"),
    ("StorePath.store", "Is the store.", _PATH + "text_forms_and_joining"),
    ("StorePath.path", "Is the path.", _PATH + "text_forms_and_joining"),
    ("StorePath.get", "Reads the value, or None.", _PATH + "everyday_use"),
    ("StorePath.set", "Writes a value.", _PATH + "everyday_use"),
    ("StorePath.set", "A byte_range is a NotImplementedError.", _PATH + "a_range_is_not_written"),
    ("StorePath.set_if_not_exists", "Stores a value only if there is none.", _PATH + "everyday_use"),
    ("StorePath.delete", "Removes the key.", _PATH + "everyday_use"),
    ("StorePath.delete", "Is a NotImplementedError where the store can't.", _PATH + "delete_where_the_store_cannot"),
    ("StorePath.delete_dir", "Removes all keys below.", _PATH + "everyday_use"),
    ("StorePath.exists", "Says whether the key exists.", _PATH + "everyday_use"),
    ("StorePath.is_empty", "Says whether no key is below.", _PATH + "everyday_use"),
    ("StorePath.read_only", "Says whether the store is read-only.", _PATH + "mode_r_is_read_only"),
    ("StorePath.open", "Mode 'w-' is a FileExistsError if keys lie there.", _PATH + "mode_w_minus_only_creates"),
    ("StorePath.open", "Mode 'w' removes all keys below.", _PATH + "mode_w_removes_what_lies_below_and_nothing_else"),
    ("StorePath.open", "Mode 'r' removes nothing and gives a read-only path.", _PATH + "mode_r_is_read_only"),
    ("StorePath.open", "Modes 'a' and 'r+' do nothing.", _PATH + "these_modes_do_nothing"),
    ("WrapperStore", "Passes everything to the store in _store.", "tests/interop/test_zarr_suite.py::TestWrapper"),
    ("WrapperStore", "May be subclassed to change what a store does.", "tests/contract/test_stores.py::TestWrapperOfVerbs"),
    ("WrapperStore.open", "Makes and opens a store from constructor arguments.", _LOGGING + "open_of_a_wrapper"),
    ("ZipStore", "Keeps its keys in one zip file, which other programs read.", _ZIP + "reopening"),
    ("ZipStore", "Mode 'r' reads an existing file.", _ZIP + "mode_r"),
    ("ZipStore", "Mode 'w' puts a new file in the place of an old one.", _ZIP + "mode_w"),
    ("ZipStore", "Mode 'a' adds to an existing file.", _ZIP + "mode_a"),
    ("ZipStore", "Mode 'x' makes a file and fails if there is one.", _ZIP + "mode_x"),
    ("ZipStore", "May be read-only.", _ZIP + "read_only_changes_nothing_whatever_the_mode"),
    ("ZipStore", "Has allowed_exceptions.", _ZIP + "names_and_attributes"),
    ("ZipStore.path", "Is where the file lies.", _ZIP + "names_and_attributes"),
    ("ZipStore.compression", "Is how members are compressed.", _ZIP + "names_and_attributes"),
    ("ZipStore.compression", "Is how members are compressed.", _ZIP_WRITER + "python_reads_ours"),
    ("ZipStore.allowZip64", "If not, a file that would need it is an error.", _ZIP_WRITER + "without_zip64_nothing_is_written_that_needs_it"),
    ("ZipStore.allowZip64", "If so, large files use the extensions.", _ZIP_WRITER + "zip64_records"),
    ("ZipStore.allowZip64", "Is what was given.", _ZIP + "names_and_attributes"),
    ("ZipStore.delete", "Is an error for a key that is there, unless deletes are asked for.", _ZIP + "without_deletes"),
    ("ZipStore.delete_dir", "Is an error where keys lie below, unless deletes are asked for.", _ZIP + "without_deletes"),
    ("ZipStore.clear", "Removes all keys and values, without deletes too.", _ZIP + "without_deletes"),
    ("ZipStore.set_partial_values", "Isn't possible in an archive.", _ZIP + "no_partial_writes_and_no_versions"),
]  # fmt: skip

_NO_PARTS = {("FsspecStore", "set_partial_values"), ("ZipStore", "set_partial_values")}

# What a store says of itself has the listed value wherever the listing gives one.
SAID = ("supports_deletes", "supports_listing", "supports_partial_writes", "supports_writes")


def rows(listing):
    """Yield all rows, shared sentences once for each class that has the member."""
    yield from OWN
    for name, contract in CONTRACT.items():
        members = listing[name]["members"]
        for member, sentence, question in SHARED:
            # Where there are no partial writes, the row is the class's own.
            if member in members and (name, member) not in _NO_PARTS:
                yield f"{name}.{member}", sentence, f"{contract}::{question}"
        for member in SAID:
            if member in members:
                yield f"{name}.{member}", f"Says whether it {member.replace('_', ' ')}.", _LISTED
