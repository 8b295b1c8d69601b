"""Chemical plumes and reactions: two environments in the same physics."""
