"""The store of one partition: a cache of its history, which may be deleted at any time.

`api.py` is the raw seam (tables of byte strings) with two twins, `rocks.py` and `memory.py`; `behind.py` collects what goes
into them; `rows.py` is what the rest of the executor sees. One store per partition, in its own folder.
"""
