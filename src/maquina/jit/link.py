"""LLVM text to object code, and object code to addresses in this process."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable
from functools import cache
from itertools import count
from typing import Any

from maquina.jit.profile import write_perf_map

_lock = threading.Lock()
_serial = count()

DEBUG = "MAQUINA_DEBUG_NATIVE"  # in the environment: let gdb and perf see native code


@cache
def target() -> Any:
    """The machine to generate code for, made once."""
    return new_target()


def new_target() -> Any:
    """The machine to generate code for: this host."""
    import llvmlite.binding as llvm

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    llvm.initialize_native_asmparser()
    return llvm.Target.from_default_triple().create_target_machine(
        cpu=llvm.get_host_cpu_name(),
        features=llvm.get_host_cpu_features().flatten(),
        opt=2,
        reloc="pic",
        codemodel="small",
        jit=True,
    )


def host() -> str:
    """What code for this host depends on: LLVM, its version, the CPU and its features."""
    import llvmlite
    import llvmlite.binding as llvm

    features = llvm.get_host_cpu_features().flatten()
    version = f"{llvmlite.__version__} {llvm.llvm_version_info}"
    return f"{version} {llvm.get_process_triple()} {llvm.get_host_cpu_name()} {features}"


def optimised(text: str) -> Any:
    """LLVM text parsed, verified and optimised: an llvmlite module."""
    import llvmlite.binding as llvm

    module = llvm.parse_assembly(text)
    module.triple = target().triple
    module.verify()
    options = llvm.create_pipeline_tuning_options(speed_level=2)
    builder = llvm.create_pass_builder(target(), options)
    builder.getModulePassManager().run(module, builder)
    return module


def object_code(text: str) -> bytes:
    """LLVM text compiled to an object file."""
    return bytes(target().emit_object(optimised(text)))


@cache
def _session() -> Any:
    import llvmlite.binding as llvm

    return llvm.create_lljit_compiler(target())


class _Debuggable:
    """Object code linked by LLVM's older linker, which tells debuggers; perf is told too."""

    def __init__(self, code: bytes, symbol: str) -> None:
        import llvmlite.binding as llvm

        with _lock:
            self.engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), new_target())
            self.engine.add_object_file(llvm.ObjectFileRef.from_data(code))
            self.engine.finalize_object()
        write_perf_map(code, symbol, self[symbol])

    def __getitem__(self, symbol: str) -> int:
        return int(self.engine.get_function_address(symbol))


def linked(code: bytes, symbols: Iterable[str]) -> Any:
    """Object code put into this process: a mapping of symbols to addresses, which owns it."""
    import llvmlite.binding as llvm

    if DEBUG in os.environ:
        return _Debuggable(code, next(iter(symbols)))
    with _lock:
        builder = llvm.JITLibraryBuilder().add_object_img(code).add_current_process()
        for symbol in symbols:
            builder.export_symbol(symbol)
        return builder.link(_session(), f"native{next(_serial)}")
