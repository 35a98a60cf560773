"""What happens on the way into a container, up to the start of its program.

Nothing may be imported once the container's root is in place: the image would supply the module.
"""
