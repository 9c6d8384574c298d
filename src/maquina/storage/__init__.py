"""Disk images (raw files, qcow2, overlays) and file trees. Usable alone: it knows no machine.

    from maquina.storage.formats import create_overlay, open_image

    create_overlay(Path("base.img"), Path("mine.qcow2"))
    disk = open_image(Path("mine.qcow2"), allow_backing=True)

Reading order: `disk` (what every image is), `scatter` (the buffers of a request), `hostfile` and
`locks` (the file below an image), `raw`, `qcow2` (a package with its own charter), `magic` and
`formats` (which format a file has, what may be opened beneath it, overlays), `info`.

Then the package `layers`: copy-on-write file trees, with a charter of its own.

An image satisfies `machine.backends.BlockBackend`. Calls come one at a time: a machine makes them
under its lock. Nothing here starts threads or takes locks of its own.
"""
