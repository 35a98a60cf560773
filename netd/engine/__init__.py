"""The engine: decides on requests and applies the changes to the kernel, netd-dns and the store.

``state`` holds the records, ``desired_state`` derives what the kernel should hold, ``views`` converts records for
clients, containers and netd-dns.  ``change`` applies one change; ``networks`` and ``sandboxes`` answer requests;
``reconcile`` compares the kernel with the desired state, at start and after changes by other programs.
"""
