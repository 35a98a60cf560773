"""From the values of compose files to the canonical document: merging, validation, short forms, defaults.

Pure, except for ``assembly``, ``service_files`` and ``project_files``, which have files read by ``reading.disk``.
"""
