"""Files of builds: contexts, sources of COPY and ADD, their digests, and copies of them.

All access is by descriptor; symbolic links are resolved within the tree that they are in.  All functions block.
"""
