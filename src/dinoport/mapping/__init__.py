"""How names and values of an original become names and values of a target, and back: rules, and the plan they give."""
