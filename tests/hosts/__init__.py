"""Git hosts in memory that only tests need: each keeps the rules that its maker publishes, and no page.

``FORGES`` says how each is configured, for tests that run with all of them.
"""
