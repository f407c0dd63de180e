"""The gateway's HTTP: one file per noun; `problems`, `fields`, `bodies`, `edge` and `openapi` serve them all.

Everything from outside is parsed and checked here, and only here: behind it there are records and ids.
"""
