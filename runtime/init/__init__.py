"""The setup of a process in a container's namespaces, up to the execve of its program.

Nothing may be imported after the container's root is in place: the module would be read from the image.
"""
