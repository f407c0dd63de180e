"""The executor: owns partitions of runs, decides their commands, drives their workflow code on Erlang VMs.

Layers, each knowing only those below: app > shell (I/O, tasks) > processor (one step of a partition) > store > core (pure).
"""
