"""The look and the scripts of the page of a report: nothing from the network, light and dark as the reader's system."""

from __future__ import annotations

from .plot_style import FAINT, GRID, INK, PAPER

STYLE = (
    ":root{color-scheme:light dark;"
    f"--ink:{INK};--faint:{FAINT};--grid:{GRID};--paper:{PAPER};"
    """--ground:#f3f5f8;--accent:#0072b2;--ours:#0072b2;--bar:#0072b222;--wrong:#b42318}
@media(prefers-color-scheme:dark){:root{--ink:#e6eaf0;--faint:#9aa5b4;--grid:#2c3542;--paper:#171d26;
--ground:#0e1218;--accent:#5cb8f0;--ours:#2f93e0;--bar:#5cb8f02e;--wrong:#ff9d90}}
*{box-sizing:border-box}
body{margin:0;background:var(--ground);color:var(--ink);font:15px/1.55 system-ui,"Segoe UI",Helvetica,Arial,sans-serif}
main{max-width:1180px;margin:0 auto;padding:40px 20px 80px}
h1{font-size:30px;line-height:1.2;margin:0 0 6px;letter-spacing:-.01em}
h2{font-size:20px;margin:48px 0 12px}
h3{font-size:14px;margin:0;padding:16px 18px 8px;font-weight:600}
.lead{font-size:17px;max-width:76ch}.faint{color:var(--faint)}
.cards{display:grid;grid-template-columns:repeat(auto-fit,minmax(165px,1fr));gap:14px;margin:26px 0}
.card,figure,.table{background:var(--paper);border:1px solid var(--grid);border-radius:12px}
.card{padding:16px 18px}.card b{display:block;font-size:28px;line-height:1.15;font-variant-numeric:tabular-nums}
.card span{color:var(--faint);font-size:13px;display:block}
.card .what{color:var(--ink);font-weight:600;margin-bottom:4px;white-space:nowrap}
figure{margin:16px 0;padding:18px;overflow-x:auto}
figure svg,figure img{display:block;max-width:100%;height:auto;margin:0 auto}
figcaption{color:var(--faint);font-size:13px;margin-top:12px}
.table{margin:16px 0;overflow:auto}.long{max-height:85vh}
table{border-collapse:collapse;width:100%;font-size:13.5px;font-variant-numeric:tabular-nums}
th,td{padding:7px 12px;text-align:left;border-bottom:1px solid var(--grid);vertical-align:top}
tbody tr:last-child td{border-bottom:0}tbody tr:hover td{background-color:var(--bar)}
th{position:sticky;top:0;background:var(--paper);cursor:pointer;font-weight:600;vertical-align:bottom;user-select:none}
th:hover{color:var(--accent)}th:focus-visible{outline:2px solid var(--accent);outline-offset:-2px}
th[aria-sort=ascending]::after{content:" \\2191"}th[aria-sort=descending]::after{content:" \\2193"}
.number{text-align:right;white-space:nowrap}
.score{background:linear-gradient(var(--accent),var(--accent)) no-repeat left bottom/calc(var(--v)*100%) 2px}
td:not(.number){white-space:nowrap}th.number{white-space:normal;min-width:6.5em}
.failed{color:var(--wrong)}
.note{color:var(--faint);font-size:13px;padding:10px 18px;margin:0}
input{font:inherit;color:inherit;background:var(--paper);border:1px solid var(--grid);border-radius:8px;
padding:7px 12px;width:min(340px,100%)}
li{margin:4px 0}
pre{background:var(--paper);border:1px solid var(--grid);border-radius:8px;padding:12px 16px;overflow-x:auto}
@media print{body{background:none}.long{max-height:none}.card,figure,.table{break-inside:avoid}input{display:none}}
"""
)

SCRIPT = """
for (const table of document.querySelectorAll("table")) {
  const body = table.tBodies[0], heads = [...table.tHead.rows[0].cells];
  const value = (row, n) => {
    const text = row.cells[n].textContent.trim(), found = text.match(/^[+-]?\\d*\\.?\\d+/);
    if (!heads[n].classList.contains("number")) return text;
    return found ? Number(found[0]) * (/^[\\d.]+ ms/.test(text) ? 0.001 : 1) : NaN;
  };
  heads.forEach((head, n) => {
    const sort = () => {
      const up = head.getAttribute("aria-sort") !== (head.classList.contains("number") ? "descending" : "ascending");
      const sign = up === head.classList.contains("number") ? -1 : 1;
      heads.forEach(other => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", sign > 0 ? "ascending" : "descending");
      body.append(...[...body.rows].sort((a, b) => {
        const x = value(a, n), y = value(b, n);
        if (typeof x === "string") return sign * x.localeCompare(y, undefined, {numeric: true});
        return isNaN(x) ? (isNaN(y) ? 0 : 1) : isNaN(y) ? -1 : sign * (x - y);
      }));
    };
    head.tabIndex = 0;
    head.addEventListener("click", sort);
    head.addEventListener("keydown", event => { if (event.key === "Enter") sort(); });
  });
}
for (const field of document.querySelectorAll("input[data-table]")) {
  const rows = [...document.getElementById(field.dataset.table).tBodies[0].rows];
  field.addEventListener("input", () => {
    const words = field.value.toLowerCase().split(/\\s+/);
    for (const row of rows) row.hidden = !words.every(word => row.textContent.toLowerCase().includes(word));
  });
}
"""
