"""Netlink messages and sockets: encoding, decoding, requests and notifications.

Must not depend on networks or sandboxes.
"""
