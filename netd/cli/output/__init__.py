"""What netctl prints: tables, templates, help and completion scripts.

Pure, except for the clock in ``human.ago``.
"""
