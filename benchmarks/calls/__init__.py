"""One call: what it costs each contender, and what it keeps waiting."""
