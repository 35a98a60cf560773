"""Reading of the settings: configuration file, flags, documentation.  ``netd/common/config.py`` defines them."""
