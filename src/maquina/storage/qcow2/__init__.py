"""QEMU's qcow2 image format, versions 2 and 3 (QEMU, docs/interop/qcow2.txt, "the manual" here).

Reading order: `header` (what an image says about itself), `tables` (the cache of metadata tables),
`refcounts` (which host clusters are in use), `metadata` (both together, and the order in which
they reach the disk), `mapping` and `subclusters` (guest clusters to host clusters),
`compression`, `image` (the disk: reads, writes, zeros, discards), `snapshots` (a list of them),
`create`, `census` and `check` (counting references anew, finding and mending leaks and errors).

The theory of crash safety. A cluster is in use when something durable refers to it; counts only
tell which clusters are free. So a count is raised, durably, before anything refers to the cluster,
and lowered only after nothing durable does:

    data, refcount blocks | refcount table | L2 tables | L1 table | lowered counts, holes

Each bar is an fdatasync of everything before it. Changes collect in memory and are written in this
order by `Metadata.commit`: on a guest's flush, on close, and when too many tables are dirty. A
crash at any point loses unflushed writes and leaks clusters (`check` finds them); it corrupts
nothing.

Images are untrusted. Every field is checked when it is read: what is wrong on opening is a
FormatError, what turns up wrong in a table later is an I/O error (EIO) for the guest. Guest writes
that a forged table directs at the header or the top-level tables are refused, so that a guest
cannot write itself a backing file.
"""
