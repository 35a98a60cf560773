"""The one writer: decides purely, brings the kernel and the names there, records, tells.

``state`` is what is known; ``choose``, ``wanted``, ``books``, ``files`` and ``shown`` are pure; ``change`` is the one
way from a sandbox as it was to as it should be; ``sandboxes``, ``connections`` and ``networks`` are what can be
asked for; ``resume`` and ``repair`` compare with what the kernel really holds.
"""
