"""Archives of images: ``docker save``, OCI layouts, and the older form of Docker.

They are read into documents (:mod:`documents`, pure) that name layers, and written from the layers on disk.
"""
