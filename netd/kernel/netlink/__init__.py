"""Netlink messages and sockets: encoding, decoding, requests and notifications.

Must not know networks or sandboxes.
"""
