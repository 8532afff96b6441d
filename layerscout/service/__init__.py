"""The team's page and API over folders of stores and of results: imports probe, report, pages and cache, never torch."""
