"""How a report looks: on paper, on a screen, light or dark, wide or narrow."""

STYLE = """
:root { color-scheme: light dark; --line: #d8d8d8; --soft: #666; --paper: #fff; --ink: #1c1c1c; }
@media (prefers-color-scheme: dark) { :root { --line: #444; --soft: #aaa; --paper: #191919; --ink: #e6e6e6; } }
body { margin: 0; background: var(--paper); color: var(--ink); font: 16px/1.5 system-ui, sans-serif; }
main { max-width: 60rem; margin: 0 auto; padding: 1.5rem 1rem 4rem; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.25rem; margin-top: 2.5rem; } h3 { font-size: 1rem; margin-top: 1.8rem; }
section { border-top: 1px solid var(--line); }
figure { margin: 1.5rem 0; } figure img { max-width: 100%; height: auto; background: #fff; border-radius: 4px; }
figcaption, .note { color: var(--soft); font-size: .85rem; }
.wide { overflow-x: auto; } table { border-collapse: collapse; font-size: .85rem; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .2rem .8rem .2rem 0; border-bottom: 1px solid var(--line); vertical-align: top; }
th { color: var(--soft); font-weight: 500; } tr.tie td { font-weight: 600; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .15rem 1.2rem; font-size: .9rem; }
dt { color: var(--soft); } dd { margin: 0; overflow-wrap: anywhere; }
pre { font-size: .75rem; overflow-x: auto; } summary { cursor: pointer; color: var(--soft); }
@media print { body { font-size: 10pt; } section, figure { break-inside: avoid; } details { display: none; } }
"""
