"""Builds of images from Dockerfiles.

Uses the containers and the image store like any client of the engine; nothing below it knows of builds.
"""
