"""What a person reads or completes of a verb: its facts, and from them the help, the man page and the completions.

One set of facts, so that no page can tell another story. Nothing here is loaded unless one of them is asked for.
"""
