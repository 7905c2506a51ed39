"""The turn contract: one model turn of a gateway, in two requests. No HTTP here."""
