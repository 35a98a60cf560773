"""The verbs of netctl, one file per group of verbs."""
