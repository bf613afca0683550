"""Values → text, JSON, HTML. Every function returns str or what json.dumps takes; none prints."""
