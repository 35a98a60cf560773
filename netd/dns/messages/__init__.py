"""DNS messages and the answers that records give to questions.

Pure: no sockets, no clock.
"""
