"""Dashboards as code: built (``build.py``), checked (``lint.py``) and published (``publish.py``).

Boards are plain values in both languages (``boards/``, of ``model.py``). A question is said once
(``query.py``) and put into InfluxQL and PromQL. ``panels.py`` and ``render.py`` make Grafana's JSON
of them, with limits read from the rules (``limits.py``).
"""
