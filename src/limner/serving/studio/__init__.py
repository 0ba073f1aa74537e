"""The page: five places over the same jobs, pictures and engines as the API."""
