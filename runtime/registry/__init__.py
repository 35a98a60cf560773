"""Client of container registries: the distribution specification's API, its authentication, and its transport.

Works with names, digests, byte streams and files; it must not know images' layers on disk, containers or Docker's API.
"""
