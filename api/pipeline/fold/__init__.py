"""References to earlier output in place of lines that the conversation already has."""
