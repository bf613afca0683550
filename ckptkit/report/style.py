"""The look of the page: one style sheet, light and dark, from a telephone to a wall. No font, no picture to load.

In a notebook other rules hold too: JupyterLab's `.jp-RenderedHTMLCommon` gives tables, code and SVG its own look. Ours
are more specific. What is beside the page counts as well, so the width is that of the page and not of the window.
"""

LIGHT = """color-scheme: light; --page: #fff; --card: #f6f8fa; --line: #d0d7de; --text: #1f2328; --soft: #59636e;
  --red: #c62828; --yellow: #8a5d00; --green: #1a7f37; --blue: #0969da; --track: #e3e8ee;"""
DARK = """color-scheme: dark; --page: #0d1117; --card: #161b22; --line: #30363d; --text: #e6edf3; --soft: #9198a1;
  --red: #ff7b72; --yellow: #e3b341; --green: #3fb950; --blue: #58a6ff; --track: #2a313a;"""
THEMES = f"""
.ckptkit {{ {LIGHT} }}
@media (prefers-color-scheme: dark) {{ .ckptkit {{ {DARK} }} }}
[data-jp-theme-light="true"] .ckptkit, .vscode-light .ckptkit {{ {LIGHT} }}
[data-jp-theme-light="false"] .ckptkit, .vscode-dark .ckptkit {{ {DARK} }}
"""
RULES = """
.ckptkit { background: var(--page); color: var(--text); font: 15px/1.5 system-ui, "Segoe UI", Roboto, sans-serif;
  max-width: 1180px; margin: 0 auto; padding: 16px; box-sizing: border-box; text-align: left; overflow-wrap: anywhere;
  container-type: inline-size; }
.ckptkit * { box-sizing: border-box; }
.ckptkit h1, .ckptkit h2, .ckptkit h3 { font-weight: 600; line-height: 1.3; }
.ckptkit h1 { font-size: 22px; margin: 0; } .ckptkit h2 { font-size: 17px; margin: 30px 0 10px; }
.ckptkit h3 { font-size: 15px; margin: 18px 0 8px; }
.ckptkit .soft { color: var(--soft); font-size: 13px; margin: 4px 0; }
.ckptkit code { font: 13px/1.45 ui-monospace, "Cascadia Mono", Menlo, Consolas, monospace; color: inherit;
  background: none; padding: 0; }
.ckptkit .flag { border: 1px solid var(--line); border-left: 5px solid var(--tone); border-radius: 6px;
  background: var(--card); padding: 8px 12px; margin: 8px 0; }
.ckptkit .flag b { color: var(--tone); margin-right: 6px; }
.ckptkit .flag code, .ckptkit .how { display: block; margin-top: 4px; padding: 5px 9px; background: var(--page);
  border: 1px solid var(--line); border-radius: 4px; user-select: all; white-space: normal; }
.ckptkit .flag.green { padding: 3px 12px; margin: 4px 0; }
.ckptkit .free { border: 1px solid var(--line); border-radius: 6px; padding: 12px; margin: 12px 0; }
.ckptkit .free > :last-child { border: 0; }
.ckptkit .red { --tone: var(--red); } .ckptkit .yellow { --tone: var(--yellow); }
.ckptkit .green { --tone: var(--green); } .ckptkit .blue { --tone: var(--blue); }
.ckptkit .volumes { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 280px), 1fr)); gap: 12px; }
.ckptkit .card { border: 1px solid var(--line); border-radius: 6px; background: var(--card); padding: 12px;
  min-width: 0; }
.ckptkit .big { font-size: 26px; font-weight: 600; color: var(--tone, var(--text)); line-height: 1.4; }
.ckptkit .bar { position: relative; height: 10px; border-radius: 5px; background: var(--track); overflow: hidden; }
.ckptkit .bar span { position: absolute; left: 0; top: 0; bottom: 0; background: var(--tone, var(--blue)); }
.ckptkit .bar i { position: absolute; top: 0; bottom: 0; width: 2px; background: var(--page); }
.ckptkit .gauge { height: 16px; margin: 6px 0; border-radius: 8px; }
.ckptkit .row { display: grid; grid-template-columns: minmax(0, 1fr) auto 180px; gap: 2px 14px; align-items: center;
  padding: 6px 0; border-bottom: 1px solid var(--line); }
.ckptkit .row .size { text-align: right; white-space: nowrap; }
.ckptkit .row .how { grid-column: 1 / -1; background: var(--card); }
.ckptkit .chart { overflow: hidden; } .ckptkit .use { height: 150px; }
.ckptkit .timeline { height: 60px; overflow: visible; }
.ckptkit .chart svg { display: block; width: 100% !important; height: 100% !important; max-width: none; margin: 0; }
.ckptkit .timeline svg { overflow: visible; }
.ckptkit svg text { fill: var(--soft); font: 12px system-ui, sans-serif; }
.ckptkit .ends { display: flex; justify-content: space-between; gap: 12px; }
.ckptkit table { border-collapse: collapse; width: 100%; font-size: 14px; margin: 0; table-layout: auto; border: 0;
  color: inherit; }
.ckptkit thead { border: 0; } .ckptkit tr, .ckptkit tbody tr:nth-child(n) { background: none; }
.ckptkit th, .ckptkit td { text-align: left; vertical-align: top; padding: 6px 12px 6px 0; line-height: 1.5;
  border: 0; border-bottom: 1px solid var(--line); background: none; color: inherit; overflow-wrap: normal; }
.ckptkit th { color: var(--soft); font-weight: 500; white-space: nowrap; }
.ckptkit td.short { white-space: nowrap; } .ckptkit td.long { overflow-wrap: anywhere; min-width: 150px; }
.ckptkit td:first-child { font-weight: 600; }
.ckptkit td b { color: var(--tone); font-weight: 600; }
@container (max-width: 640px) {
  .ckptkit .row { grid-template-columns: minmax(0, 1fr) auto; } .ckptkit .row .bar { grid-column: 1 / -1; }
  .ckptkit tbody, .ckptkit table { display: block; } .ckptkit thead { display: none; }
  .ckptkit tr { display: block; border-bottom: 1px solid var(--line); padding: 6px 0; }
  .ckptkit td, .ckptkit td.short, .ckptkit td.long { display: grid; grid-template-columns: 100px minmax(0, 1fr);
    border: 0; padding: 1px 0; white-space: normal; min-width: 0; overflow-wrap: anywhere; }
  .ckptkit td::before { content: attr(data-name); color: var(--soft); font-weight: 400; } }
"""
# Said three times, a class beats each rule of JupyterLab, which names two classes and two elements at most.
CSS = (THEMES + RULES).replace(".ckptkit", ".ckptkit" * 3)
PAGE_CSS = (
    "html { background: #fff; } body { margin: 0; }"
    " @media (prefers-color-scheme: dark) { html { background: #0d1117; } }"
)
