"""Netlink messages and sockets: encoding, decoding, requests and notifications.

It knows no network and no sandbox.
"""
