"""Dashboards as code: built, checked and published from here. Nothing is in it yet."""
