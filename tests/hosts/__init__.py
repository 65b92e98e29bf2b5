"""Git hosts in memory that only tests need: each keeps the rules that its maker publishes, and no page.

``FORGE`` in a file says how it is configured; ``forges.py`` finds them for tests that run with all of them.
"""
