"""Bytes from elsewhere: downloads into a cache, and ranges of files that stay where they are."""
