"""Zip archives: records, index, reading, appending, repairing, and the store.

Each module imports only those before it: format, source, codecs, index, reader, writer, archive,
repair, store.

How an archive grows
--------------------
Nothing that counts is ever overwritten, so an acknowledged member survives the death of its writer. New
members are appended behind the last end record. Each is written in this order:

1. a *guard*, 20 bytes, at what will be the end of the file. It says where the last end record is and
   where the members behind it start, and its checksum covers its own position. As long as members are
   behind the last end record, the last 20 bytes of the file are a guard. So no end record within a value
   (of another archive, say) is ever at the end of the file. A guard is written some way ahead, with a hole
   in front of it, so that small members share one;
2. the member's data, behind the room for its header;
3. its local header, behind the last member. This commits the member: before it, a
   reader that walks from header to header stops there. A private field at the header's end
   (`format.MARK`) holds a checksum of the header and its position, so that neither a half-written header
   nor a copy of one is mistaken for a header.

Small values that are set at the same time are written together: first all of them with gaps for their
headers, then the same again with the headers filled in. If the second write is cut short, the members up
to there are whole. So a batch takes two writes, and two syncs if syncs are asked for. Power may fail when
some of these headers are on the medium and others, in front of them, aren't. So they are marked as followers
of the first (`format.FOLLOWER`), which without it are no sign of damage.

Where syncs are asked for, a guard is synced before the file is written up to it, or cut behind it. Thus a
file ends with a guard or an end record whatever else of it is on the medium, or with zeros, if power failed
while the guard was written. End records take the place of a guard in the file's last sector, once all else is
synced.

A new archive starts with a gap, which a copy of a member fills when it is first closed (see
`writer.Appender.fill_gap`).

A removal is a member without data whose private field says so. Closing an archive appends the
directory, without removals and replaced members, and an end record; until that is written, a guard ends
the file. The result is an ordinary archive with dead bytes, which a rewrite into a new file reclaims. No
guard or end record crosses a sector boundary, so that each is written whole or not at all.
"""
