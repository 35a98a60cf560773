"""Output of netctl: tables, templates, quantities and completion scripts.

Pure, except for ``human.ago``, which reads the clock.
"""
