"""The kernel as netd uses it: rtnetlink, nftables, conntrack, namespaces, sysctls.

The only netlink, ctypes and /proc access of netd.  It knows how and decides nothing: what should be
there comes as :mod:`netd.facts` and :mod:`netd.portmap.rules`; :class:`netd.kernel.kernel_host.Host` is the door.
"""
