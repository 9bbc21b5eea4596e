"""How data is destroyed: the one equation, for values, for tokens, and for several named parts."""
