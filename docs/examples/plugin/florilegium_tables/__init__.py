"""Tables in documents: a specialist that finds them, and a filter for those found twice."""
