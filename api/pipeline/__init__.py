"""The steps of a compression request, one module each; nothing here knows HTTP."""
