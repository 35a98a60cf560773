"""Forward chains of other programs: which of netd's packets they drop, and netd's own rule at their head."""
