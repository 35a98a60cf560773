"""Dockerfiles as values: lines, words, instructions and stages.  Pure."""
