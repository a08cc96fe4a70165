"""Benchmarks: `python -m bench NAME` prints JSON; see docs/benchmarks.md.

Load goes to this machine only. Figures are CPU-seconds of whole process trees
and ratios to a bare loop that runs on the same schedule in the same run.
"""
