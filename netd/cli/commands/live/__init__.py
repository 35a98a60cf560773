"""The verbs that show what changes, as it changes: ``stats`` and ``events``."""
