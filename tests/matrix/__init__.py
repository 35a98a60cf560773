"""Who reaches what, as tables that are proved cell by cell; ``python -m tests.matrix`` prints them."""
