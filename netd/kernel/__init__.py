"""Kernel access of netd: rtnetlink, nftables, conntrack, namespaces, sysctls.

The only package of netd that opens netlink sockets and reads or changes the host's network.  It applies
:mod:`netd.facts` and :mod:`netd.portmap.rules` and must not decide what they contain.
:class:`netd.kernel.kernel_host.KernelHost` is its entry point.
"""
