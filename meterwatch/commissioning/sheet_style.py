"""How the acceptance sheet looks, on a screen and on A4. The fonts are those that machines have."""

from __future__ import annotations

from typing import Final

STYLE: Final = """
@page { size: A4; margin: 10mm 13mm; }
:root { --ink: #1d2733; --soft: #5d6b7a; --line: #d5dce4; --tint: #f4f6f9; --accent: #1f4e79;
  --ok: #1e7145; --note: #5d6b7a; --doubt: #9a6200; --fault: #a32020; }
* { box-sizing: border-box; -webkit-print-color-adjust: exact; print-color-adjust: exact; }
body { margin: 0; background: #e9edf1; color: var(--ink);
  font: 8.9pt/1.36 "Noto Sans", "Noto Sans CJK SC", "Source Han Sans SC", "PingFang SC",
    "Microsoft YaHei", "Helvetica Neue", Arial, sans-serif; }
main { width: 210mm; min-height: 297mm; margin: 8mm auto; padding: 12mm 13mm; background: #fff;
  box-shadow: 0 1px 8px rgba(20, 30, 45, .18); display: flex; flex-direction: column; }
header { display: flex; justify-content: space-between; align-items: flex-start; gap: 8mm;
  border-bottom: 2pt solid var(--accent); padding-bottom: 3mm; }
h1 { margin: 0; font-size: 18pt; line-height: 1.15; font-weight: 650; color: var(--accent);
  letter-spacing: .01em; }
.sub { margin: .8mm 0 0; color: var(--soft); font-size: 10.5pt; }
.stamp { border: 1.2pt solid; border-radius: 2mm; padding: 1.6mm 3.5mm; max-width: 82mm; }
.stamp small { display: block; color: var(--soft); font-size: 7.6pt; }
.stamp strong { font-size: 12pt; }
.stamp p { margin: .5mm 0 0; font-size: 8pt; }
.stamp.ok { color: var(--ok); } .stamp.doubt { color: var(--doubt); }
.stamp.fault { color: var(--fault); }
.meta { display: grid; grid-template-columns: 1fr 1fr; column-gap: 8mm; margin: 3mm 0 0; }
.meta div { display: flex; border-bottom: .5pt solid var(--line); padding: .75mm 0; gap: 3mm; }
.meta .wide { grid-column: 1 / -1; }
.meta dt { flex: 0 0 36mm; color: var(--soft); }
.meta dd { margin: 0; font-weight: 550; overflow-wrap: anywhere; }
section { margin-top: 3mm; }
h2 { margin: 0 0 1.2mm; font-size: 10.5pt; font-weight: 650; color: var(--accent); }
table { width: 100%; border-collapse: collapse; }
th { text-align: left; white-space: nowrap; font-weight: 550; font-size: 8.2pt; color: var(--soft);
  background: var(--tint); padding: .8mm 1.6mm; }
td { padding: .6mm 1.6mm; border-bottom: .5pt solid var(--line); vertical-align: baseline; }
.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
th.n { text-align: right; }
th i { display: inline-block; width: 2mm; height: 2mm; border-radius: 50%; margin-right: 1.2mm; }
td small, dd small { color: var(--soft); font-size: 8pt; }
.more { display: grid; grid-template-columns: 1fr 1fr; column-gap: 8mm; margin: 1.5mm 0 0; }
.more div { display: flex; justify-content: space-between; gap: 3mm; padding: .6mm 1.6mm;
  border-bottom: .5pt solid var(--line); font-size: 8.8pt; }
.more dt { color: var(--soft); } .more dd { margin: 0; font-variant-numeric: tabular-nums; }
.wiring { display: flex; gap: 6mm; align-items: center; }
.wiring table { flex: 1; }
figure { flex: 0 0 50mm; margin: 0; text-align: center; }
svg { width: 44mm; height: auto; display: block; margin: 0 auto; }
svg circle, svg path { fill: none; stroke: var(--line); stroke-width: .8; }
svg text { font-size: 9.5px; text-anchor: middle; font-weight: 600; }
figcaption { font-size: 7pt; color: var(--soft); line-height: 1.25; }
.badge { display: inline-block; min-width: 5mm; margin-right: 1.6mm; padding: 0 1.4mm;
  border-radius: 1mm; font-size: 8pt; font-weight: 650; text-align: center; color: #fff; }
.badge.ok { background: var(--ok); } .badge.note { background: var(--note); }
.badge.doubt { background: var(--doubt); } .badge.fault { background: var(--fault); }
.found { list-style: none; margin: 2mm 0 0; padding: 0; font-size: 8.8pt; }
.found li { padding: 1mm 2mm; margin-top: 1mm; background: var(--tint); border-left: 2pt solid;
  break-inside: avoid; }
.found .note { border-color: var(--note); } .found .doubt { border-color: var(--doubt); }
.found .fault { border-color: var(--fault); }
.found b { font-weight: 600; } .found em { font-style: normal; color: var(--accent); }
.none { margin: 0; color: var(--soft); }
.sign { margin-top: auto; padding-top: 3mm; break-inside: avoid; }
.remarks { border: .5pt solid var(--line); border-radius: 1mm; height: 10mm; padding: .8mm 1.6mm;
  color: var(--soft); font-size: 8pt; }
.lines { display: grid; grid-template-columns: repeat(3, 1fr); gap: 8mm; margin-top: 3mm; }
.lines span { font-weight: 600; }
.lines p { display: flex; gap: 3mm; margin: 0; padding-top: 8mm; }
.lines p small { flex: 1; border-top: .7pt solid var(--ink); color: var(--soft); font-size: 7.4pt; }
.lines p small:first-child { flex: 1.6; }
footer { margin-top: 2mm; color: var(--soft); font-size: 7.4pt; text-align: right; }
@media print { body { background: none; }
  main { width: auto; min-height: 274mm; margin: 0; padding: 0; box-shadow: none; } }
@media screen and (max-width: 215mm) { main { width: auto; margin: 0; padding: 6mm;
  box-shadow: none; } .wiring, header { flex-direction: column; } }
"""
