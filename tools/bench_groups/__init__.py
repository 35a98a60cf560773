"""The measurements of tools/bench by subject.

A group prepares an engine, yields the function of one round, and cleans up at the end.  ``GROUPS`` has all of them;
``figures.FIGURES`` describes what they measure.  Groups must not compare engines: ``bench_page`` does.
"""
