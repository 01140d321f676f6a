"""The registry as a spreadsheet: for people who have a spreadsheet and no editor.

``columns`` what a workbook holds · ``cells`` one cell understood · ``workbook`` files opened,
tables found, faults by cell · ``texts`` rows to TOML and back · ``exchange`` import and export ·
``layout`` how a workbook looks, and the template.
"""
