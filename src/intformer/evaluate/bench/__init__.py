"""Speed, memory and agreement of an integer program and of the engines people would use instead.

Every engine runs in a process of its own, pinned to the same cores; the processes take turns, so
that all of them meet the same machine (``runner``). Models are prepared for each engine once
(``prepare``), results are rows (``results``), shown by ``tables`` and ``plot``.
"""
