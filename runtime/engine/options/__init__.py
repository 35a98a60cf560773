"""The options of create requests: checked and translated.

Pure.
"""
