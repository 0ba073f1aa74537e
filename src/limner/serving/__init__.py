"""The server: one table of jobs, an HTTP API over it, and a page over that. Needs the extra `studio`."""
