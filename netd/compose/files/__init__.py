"""From the values of compose files to the canonical document: merging, validation, short forms, defaults.

Pure, except for ``assembly``, ``service_files`` and ``project_files``, which read by ``reading.bounded_files``.
"""
