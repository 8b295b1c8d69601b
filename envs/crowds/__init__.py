"""Battle and pursuit: many bodies on one map."""
