// Tables that sort, filter and copy; sections that open for their links; the view kept in the address's fragment.
const layerlottery = (() => {
  const parts = {}, tables = () => [...document.querySelectorAll(".grid")];
  const text = cell => cell.textContent.trim(), plain = words => words.replaceAll("−", "-");
  const number = words => parseFloat(plain(words).replace(/^[^\d+-]*/, "").replaceAll(",", ""));
  const ABSENT = "–";

  // what is missing is last either way; the dense network's own values, which are no differences, stay first
  const compare = (a, b, direction) => {
    if (a === ABSENT || b === ABSENT) return (a === ABSENT) - (b === ABSENT);
    const [one, other] = [number(a), number(b)];
    const words = Number.isNaN(one) || Number.isNaN(other);
    return direction * (words ? a.localeCompare(b, undefined, {numeric: true}) : one - other);
  };

  function sort(grid, column, direction) {
    const body = grid.querySelector("tbody"), key = row => text(row.cells[column]), dense = row => /^dense(,|$)/.test(text(row.cells[0]));
    body.append(...[...body.rows].sort((a, b) => dense(b) - dense(a)
      || (column ? compare(key(a), key(b), direction) : direction * key(a).localeCompare(key(b), undefined, {numeric: true}))));
    [...grid.querySelectorAll("thead th")].forEach((head, place) => {
      if (place === column) head.setAttribute("aria-sort", direction > 0 ? "ascending" : "descending");
      else head.removeAttribute("aria-sort");
    });
  }

  function filter(grid, words) {
    const simple = words => plain(words).toLowerCase().replaceAll("\u00a0", " ").replaceAll(" % removed", " removed");
    const wanted = simple(words).replace(/\b(?:p|removed)\s*=\s*(\d+)/g, "$1\u0000removed").split(/\s+/).map(word => word.replace("\u0000", " "));
    const rows = [...grid.querySelector("tbody").rows];
    for (const row of rows) row.hidden = !wanted.every(word => simple(row.textContent).includes(word));
    grid.classList.toggle("empty", rows.length > 0 && rows.every(row => row.hidden));
  }

  const shown = grid => [...grid.querySelectorAll("tr")].filter(row => row.getClientRects().length || row.parentElement.tagName === "THEAD").map(row => [...row.cells].map(text));
  const quoted = words => `"${plain(words).replaceAll('"', '""')}"`;

  // one figure a column: 97.4 ± 0.5 is two, +0.4 [−0.1, +0.9] three
  const PARTS = [[/^(\S+) ± (\S+)$/, ["", " sd"]], [/^(\S+) \[(\S+), (\S+)\]$/, ["", " low", " high"]]];
  function apart(rows) {
    const [heads, ...body] = rows;
    const kinds = heads.map((_, column) => PARTS.find(([form]) => body.some(row => form.test(row[column]))));
    const split = (kind, words) => kind ? (kind[0].exec(words)?.slice(1) ?? [words, ...kind[1].slice(1).fill("")]) : [words];
    return [heads.flatMap((head, column) => kinds[column]?.[1].map(end => head.replace(/ \[.*\]/, "") + end) ?? [head]),
      ...body.map(row => row.flatMap((words, column) => split(kinds[column], words)))];
  }

  const csv = rows => apart(rows).map(row => row.map(quoted).join(",")).join("\r\n") + "\r\n";
  const TEX = {"\\": "\\textbackslash{}", "{": "\\{", "}": "\\}", "&": "\\&", "%": "\\%", $: "\\$", "#": "\\#", _: "\\_", "~": "\\textasciitilde{}", "^": "\\textasciicircum{}",
    "<": "$<$", ">": "$>$", "|": "\\textbar{}", "[": "{[}", "]": "{]}", "*": "{*}", "−": "$-$", "–": "--", "\u00a0": "~", "×": "$\\times$", "±": "$\\pm$", "Δ": "$\\Delta$", "ξ": "$\\xi$", "θ": "$\\theta$"};
  const tex = words => [...words].map(sign => TEX[sign] ?? sign).join("");
  const latex = ([heads, ...rows]) => [`\\begin{tabular}{l${"r".repeat(heads.length - 1)}}`, "\\hline", `${heads.map(tex).join(" & ")} \\\\`, "\\hline",
    ...rows.map(row => `${row.map(tex).join(" & ")} \\\\`), "\\hline", "\\end{tabular}", ""].join("\n");

  async function copy(button, words) {
    try {
      await navigator.clipboard.writeText(words);
    } catch {
      const field = Object.assign(document.createElement("textarea"), {value: words});
      document.body.append(field);
      field.select();
      document.execCommand("copy");
      field.remove();
    }
    const before = button.textContent;
    button.textContent = "copied";
    setTimeout(() => { button.textContent = before; }, 1200);
  }

  const button = (words, label, click) => {
    const made = Object.assign(document.createElement("button"), {type: "button", textContent: words});
    made.setAttribute("aria-label", label);
    made.addEventListener("click", () => click(made));
    return made;
  };

  // once for each table, and again where its heads are new; `own`: all rows to copy, and how it sorts
  const copied = new Map();
  function tools(grid, own = {}) {
    copied.set(grid, own.all ?? (() => shown(grid)));
    const title = text(grid.querySelector("h3").firstChild ?? grid.querySelector("h3")) || "table";
    if (!grid.querySelector(".tools")) {
      const bar = Object.assign(document.createElement("div"), {className: "tools"});
      const field = Object.assign(document.createElement("input"), {type: "search", placeholder: "filter rows", autocomplete: "off"});
      field.setAttribute("aria-label", `filter rows of ${title}`);
      field.addEventListener("input", () => { filter(grid, field.value); remember(); });
      if (grid.id !== "networks") bar.append(field);
      bar.append(button("copy CSV", `copy ${title} as CSV`, made => copy(made, csv(copied.get(grid)()))));
      bar.append(button("copy LaTeX", `copy ${title} as LaTeX`, made => copy(made, latex(copied.get(grid)()))));
      grid.querySelector("table").before(bar);
    }
    [...grid.querySelectorAll("thead th")].forEach((head, column) => {
      if (head.querySelector("button")) return;
      const words = head.textContent;
      head.replaceChildren(button(words, `sort by ${words}`, () => {
        if (own.sort) return own.sort(column);
        sort(grid, column, head.getAttribute("aria-sort") === "descending" || (!column && !head.hasAttribute("aria-sort")) ? 1 : -1);
        remember();
      }));
    });
  }

  const name = grid => grid.querySelector("h3").id;
  const sections = () => [...document.querySelectorAll("section > details")].filter(one => one.parentElement.id !== "explore");
  const closed = new Map(sections().map(one => [one, one.open]));
  parts.tables = {
    write: () => tables().filter(grid => grid.id !== "networks").flatMap(grid => {
      const head = grid.querySelector("[aria-sort]"), field = grid.querySelector(".tools input");
      return [...(head ? [[`sort.${name(grid)}`, `${head.cellIndex} ${head.getAttribute("aria-sort")}`]] : []),
        ...(field && field.value ? [[`rows.${name(grid)}`, field.value]] : [])];
    }),
    read: found => {
      for (const grid of tables().filter(grid => grid.id !== "networks")) {
        const [column, way] = (found.get(`sort.${name(grid)}`) ?? "").split(" "), field = grid.querySelector(".tools input");
        if (way && grid.querySelectorAll("thead th")[column]) sort(grid, Number(column), way === "ascending" ? 1 : -1);
        if (field) filter(grid, field.value = found.get(`rows.${name(grid)}`) ?? "");
      }
    },
  };
  parts.sections = {
    write: () => {
      const changed = sections().filter(one => one.open !== closed.get(one)).map(one => one.parentElement.id);
      return changed.length ? [["open", changed.join(" ")]] : [];
    },
    read: found => {
      const changed = (found.get("open") ?? "").split(" ");
      for (const one of sections()) one.open = closed.get(one) !== changed.includes(one.parentElement.id);
    },
  };

  // what the address says is left alone until a reader changes the view: events also follow when the view is restored
  let held = "", begun = false;
  const view = () => String(new URLSearchParams(Object.values(parts).flatMap(part => part.write())));
  function remember() {
    if (view() === held) return;
    held = view();
    history.replaceState(null, "", held ? `#${held}` : location.pathname + location.search);
  }

  function go() {
    const fragment = location.hash.slice(1), target = document.getElementById(fragment);
    const found = new URLSearchParams(target ? "" : fragment);
    // a link to a section leaves the view as it is
    for (const own of Object.values(parts)) if (!target || !begun) own.read(found);
    if (target) (target.querySelector("details") ?? target.closest("details") ?? {}).open = true;
    begun = true;
    if (target) target.scrollIntoView();
    held = view();
  }

  function start() {
    tables().filter(grid => grid.id !== "networks").forEach(tools);
    for (const one of sections()) one.addEventListener("toggle", remember);
    addEventListener("hashchange", go);
    addEventListener("beforeprint", () => document.querySelectorAll("details").forEach(one => { one.open = true; }));
    go();
  }
  return {parts, tools, remember, start};
})();
