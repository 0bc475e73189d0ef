"""What Zarr's formats, 2 and 3, say of a hierarchy: documents, names of chunks, codecs, shards.

`documents` reads metadata documents, `names` spells the keys of chunks, `codecs` decodes chunks, `shards`
looks into shards, `crc32c` is their checksum, and `sweep` reads all documents of a hierarchy in few rounds.
All of it works without zarr-python.
"""
