"""Carries out builds: steps run in containers of the engine, and their changes become layers."""
