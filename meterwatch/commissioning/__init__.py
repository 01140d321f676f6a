"""Putting a meter into service: is it read rightly, is it wired rightly, and who signs for it.

``contact/`` talks to devices, a protocol each, and only ever asks; ``probe`` and ``scan`` say
what is asked of whom. Everything else is pure, takes values and gives verdicts, whoever brought
them: ``plausible``, ``word_orders``, ``wiring``, ``sheet``, and ``assess``, which puts them
together. What people read stands in the files that end in ``_words``.
"""
