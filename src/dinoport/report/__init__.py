"""One object for what was done and shown, and its forms."""
