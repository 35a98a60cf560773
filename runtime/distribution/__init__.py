"""Pull and push: images of the store to and from registries.

Joins the registry client with the store of images and layers; knows Docker's progress messages, not its HTTP routes.
"""
