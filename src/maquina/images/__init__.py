"""Where guests come from: Debian's archive, its kernels, and the cache they are kept in.

    from maquina.images import debian
    guest = debian("trixie", packages=["git"])     # layers, kernel, modules, busybox

A request answered before is answered from one small file in milliseconds, without the network.

Reading order:

    catalog       the front door: what can be asked for, and answers remembered
    guest         what comes out
    bootstrap     the steps from a mirror to a guest
    sources       the host's apt configuration: mirrors, proxies, keys
    release       a suite's signed index
    index         its list of packages; `versions` compares what is in it
    archive       the two together: one suite of one mirror
    resolve       which packages are needed
    download      fetching them
    deb           reading a package
    unpack        its files into a layer
    dpkg          the package database
    configure     what the base packages' scripts would do; `certificates`, `mirrors` parts of it
    kernels       Debian's kernels, their modules and command lines
    modules       reading and ordering modules; `strip` takes off what loading does not need
    trees         going through the files of layers
    cpio          archives the kernel unpacks; `initramfs` makes one with busybox and modules
    disks         the same system on a disk of its own
    cache         where all is kept, shared by concurrent runs
    progress      telling a person how far it is
"""

from maquina.images.catalog import debian
from maquina.images.guest import Guest, Kernel
from maquina.images.progress import SILENT, Progress, on_terminal

__all__ = ["SILENT", "Guest", "Kernel", "Progress", "debian", "on_terminal"]
