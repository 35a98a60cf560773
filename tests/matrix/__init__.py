"""Tables of reachability, tested cell by cell; ``python -m tests.matrix`` prints the measured ones."""
