"""Processors: `riscv` in software. Each is usable alone, on a bare memory."""
