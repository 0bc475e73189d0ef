"""What Zarr's formats 2 and 3 define about a hierarchy: documents, chunk names, codecs, shards.

`documents` reads metadata documents, `names` builds and parses the keys of chunks, `codecs` decodes chunks,
`shards` reads the indices of shards, `crc32c` is their checksum, and `sweep` reads all documents of a
hierarchy in a few rounds. All of it works without zarr-python.
"""
