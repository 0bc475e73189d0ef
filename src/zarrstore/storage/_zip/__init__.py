"""Zip archives: records, index, reading, appending, repairing, and the store.

Each module imports only those before it: format, source, codecs, index, reader, opening, ending, rewriting,
writer, file, archive, repair, store.

How an archive grows
--------------------
Nothing that counts is ever overwritten, so an acknowledged member survives if its writer dies. New members
are appended after the last end record. Each is written in this order:

1. a *guard* of 20 bytes, where the file will end. It says where the last end record is and where the members
   after it start, and its checksum covers its own position. While there are members after the last end
   record, the last 20 bytes of the file are a guard. So an end record within a value (of another archive,
   say) is never at the end of the file. A guard is written some way ahead, after a hole, so that small
   members share it;
2. the member's data, after the room for its header;
3. its local header, right after the last member. This commits the member: until then, a reader that walks
   from header to header stops there. A private field at the header's end (`format.MARK`) holds a checksum of
   the header and its position, so that neither a half-written header nor a copy of one passes for a header.

Small values that are set at the same time are written together: first with gaps for their headers, then again
with the headers filled in. If the second write is interrupted, the members up to there are complete. So a
batch takes two writes, and two syncs if syncs are asked for. Power may fail when some of these headers are on
the medium and others, before them, aren't. So all but the first are marked as followers of it
(`format.FOLLOWER`): followers without their first aren't taken for damage.

If syncs are asked for, a guard is synced before the file is written up to it, or truncated after it. So a
file always ends with a guard or an end record, whatever else of it is on the medium, or with zeros if power
failed while the guard was written. End records replace the guard in the file's last sector once all else is
synced.

A new archive starts with a gap, which a copy of a member fills when it is first closed (see
`writer.Appender.fill_gap`).

A removal is a member without data whose private field says so. Closing an archive appends the directory,
without removals and replaced members, and then an end record; until then, a guard ends the file. The result
is an ordinary archive with dead bytes, which a rewrite into a new file reclaims. No guard or end record
crosses a sector boundary, so each is written whole or not at all.
"""
