"""The steps of a compression request, one module each; independent of HTTP."""
