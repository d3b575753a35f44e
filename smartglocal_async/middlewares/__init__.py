"""aiohttp client middlewares, one habit each, unaware of one another."""
