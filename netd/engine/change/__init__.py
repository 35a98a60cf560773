"""One change of a network or sandbox: allocation, plugin calls, kernel, store, names.

It decides nothing about requests; it carries out what the packages above it decided.
"""
