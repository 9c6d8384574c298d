"""Copy-on-write file trees: read-only layers with a writable one on top. Usable alone.

A machine's default root is a stack of these, served to the guest's kernel by virtio-fs. The host
needs no rights for it: owners, modes, devices, times, extended attributes and names live in tables
of our own, host files hold contents only, and no name that a guest chose ever reaches the host.

Reading order:

    beside     directories that appear whole or not at all
    format     what a layer is on disk: one table, one file of contents
    writer     making a layer, as an archive is unpacked
    layer      reading one
    union      several layers seen as one tree, merged by path (whiteouts, opaque directories)
    ranges     parts of host files: reserving, copying, finding holes
    contents   the numbered host files that hold what a guest has written
    journal    the changes to a tree, on disk, whole after a kill at any moment
    inode      a file of the merged tree, as it is now
    upper      the writable part: contents, journal, and how much a guest may store
    table      all inodes: what is read from the layers, what has changed, and its journal
    stack      the union with the upper on top: lookups, reads, writes, renames
    difference what a stack has besides its layers, as one more layer

Layers are merged by path, as container images are. What a guest changes is kept by inode number:
moving a directory of a lower layer is one entry, and hard links survive being written to.

    with LayerWriter("base") as writer:
        writer.file("etc/hostname", b"box\\n", 0o644)
        layer = writer.finish()
    with Stack([layer], Upper.temporary("scratch")) as stack:
        hosts = stack.create(stack.find("etc").ino, b"hosts", S_IFREG | 0o644, owner=(0, 0))
        stack.write_from(hosts.ino, 0, [memoryview(b"127.0.0.1 localhost\\n")])
"""
