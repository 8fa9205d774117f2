"""Why a target is not equal."""
