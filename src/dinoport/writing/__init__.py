"""From a plan to a published folder."""
