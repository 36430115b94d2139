"""Array libraries, devices and random streams: everything that ``lft_ref`` must not know of."""
