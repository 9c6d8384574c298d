"""Measurements against named peers: `python -m bench`, or `./tasks bench`.

One file measures one thing: `startup`, `boot`, `command`, `compute`, `memory`, `disk`, `network`,
`inside`; and `profile`, which compares nothing, says where a boot's time goes. Beside them:
`ratios` (alternating runs, medians, what a result is), `programs` (a process and its console, seen
from outside), `contenders` (the command lines that are compared), `materials` (kernel, initial RAM
disk, programs), `report` (tables and files). README.md is for who runs them.

The machine that measures is shared and noisy. So contenders alternate within one run, A B A B, a
result is the median of the ratios of neighbours, and the ratio of user CPU time stands beside it.
Times alone are no results: they are for reading the ratios.
"""
