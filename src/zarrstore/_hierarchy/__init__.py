"""What Zarr's formats 2 and 3 define about a hierarchy: documents, chunk names, codecs, shards.

`documents` reads metadata documents, `names` builds and parses the keys of chunks, `codecs` decodes chunks,
`shards` reads the indices of shards, `crc32c` is their checksum, `sweep` reads all documents of a hierarchy
in a few rounds, and `facts` are what they say about a group or an array. All of it works without zarr-python.
"""
