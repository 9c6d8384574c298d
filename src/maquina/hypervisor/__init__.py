"""Machines made from images: what `maquina run` does, as Python.

Reading order: `recipes` (what is wanted, and from it a machine's configuration), `session` (a
machine with a guest in it: run a command, or give a terminal, then take it away), `preparing`
(doing once what every machine of a guest would do again), `personal` (what is not kept of that).
"""
