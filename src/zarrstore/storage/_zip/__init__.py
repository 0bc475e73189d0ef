"""Zip archives: their records, an index of them, reading, appending and repairing.

Importing goes one way: format, sources, codecs, index, reader, writer, archive. Nothing here knows
of stores, but for the errors, which name one.

How an archive grows
--------------------
Nothing that was written is written over, so that every member that was acknowledged outlives its
writer. New members go behind the last end record. Each is written in this order:

1. a *guard*, 20 bytes, at what will be the end of the file. It says where the last end record is and
   where the members behind it start, and its checksum covers its own position. As long as members lie
   behind the last end record, the last 20 bytes of the file are a guard: whatever a value holds (another
   archive's end record, say), the end of the file never is an end record that isn't ours. It is put some way
   ahead, so that small members share one, and a hole lies in front of it;
2. the member's data, behind the room for its header;
3. its local header, behind the last member. This commits the member: before it, a
   reader that walks from header to header stops there. A private field at the header's end
   (`_format.MARK`) holds a checksum of the header and of its position, so that no half-written header
   and no copy of one is taken for one.

Small values that are set at the same time are written together: first all of them, with room for their
headers, then the same once more with the headers in it. Wherever the second write ends before its time,
the members up to there are whole. So each batch takes two writes, and two syncs where syncs are asked for.

A new archive starts with some free bytes, which a copy of a member fills when it is closed for the first
time (`_writer.Appender.fill_gap` says why).

A removal is a member without data whose private field says so. Closing an archive writes the
directory and an end record behind the members, again with a guard in front of what isn't there yet;
removals and what was replaced are left out of it. What remains is an ordinary archive with dead bytes
in it, which a rewrite into a new file reclaims. A guard or end record never crosses a sector's border, so
that it is there whole or not at all.
"""
