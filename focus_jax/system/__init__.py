"""The machine under the package: processors, processes, signals, damaged files, commands.

Imports nothing of the package. Every other room may import it.

Read `command` (what all commands share), `sharding` (devices and processes), `preemption` (being
asked to stop), `cpu` (what is set for speed), `caches` (where things are kept), `content` (what a
file is), `pickles` (those of strangers), `damage` (what readers raise at damaged files).
"""
