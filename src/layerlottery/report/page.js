// Tables that sort, filter and copy; sections that open for their links; the view kept in the address's fragment.
const layerlottery = (() => {
  const parts = {}, tables = () => [...document.querySelectorAll(".grid")];
  const text = cell => cell.textContent.trim(), plain = words => words.replaceAll("−", "-");
  const number = words => parseFloat(plain(words).replace(/^[^\d+-]*/, "").replaceAll(",", ""));

  const compare = (a, b) => {
    const [one, other] = [number(a), number(b)];
    if (Number.isNaN(one) || Number.isNaN(other)) return Number.isNaN(one) - Number.isNaN(other) || a.localeCompare(b);
    return one - other;
  };

  function sort(grid, column, direction) {
    const body = grid.querySelector("tbody"), key = row => text(row.cells[column]);
    body.append(...[...body.rows].sort((a, b) => direction * (column ? compare(key(a), key(b)) : key(a).localeCompare(key(b), undefined, {numeric: true}))));
    [...grid.querySelectorAll("thead th")].forEach((head, place) => {
      if (place === column) head.setAttribute("aria-sort", direction > 0 ? "ascending" : "descending");
      else head.removeAttribute("aria-sort");
    });
  }

  function filter(grid, words) {
    const wanted = words.toLowerCase().split(/\s+/);
    for (const row of grid.querySelector("tbody").rows) row.hidden = !wanted.every(word => row.textContent.toLowerCase().includes(word));
  }

  const shown = grid => [...grid.querySelectorAll("tr")].filter(row => row.getClientRects().length || row.parentElement.tagName === "THEAD").map(row => [...row.cells].map(text));
  const quoted = words => `"${plain(words).replaceAll('"', '""')}"`;
  const csv = rows => rows.map(row => row.map(quoted).join(",")).join("\r\n") + "\r\n";
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

  // once for each table, and again where its heads are new
  function tools(grid) {
    const title = text(grid.querySelector("h3").firstChild ?? grid.querySelector("h3")) || "table";
    if (!grid.querySelector(".tools")) {
      const bar = Object.assign(document.createElement("div"), {className: "tools"});
      const field = Object.assign(document.createElement("input"), {type: "search", placeholder: "filter rows", autocomplete: "off"});
      field.setAttribute("aria-label", `filter rows of ${title}`);
      field.addEventListener("input", () => { filter(grid, field.value); remember(); });
      if (grid.id !== "networks") bar.append(field);
      bar.append(button("copy CSV", `copy ${title} as CSV`, made => copy(made, csv(shown(grid)))));
      bar.append(button("copy LaTeX", `copy ${title} as LaTeX`, made => copy(made, latex(shown(grid)))));
      grid.querySelector("table").before(bar);
    }
    [...grid.querySelectorAll("thead th")].forEach((head, column) => {
      if (head.querySelector("button")) return;
      const words = head.textContent;
      head.replaceChildren(button(words, `sort by ${words}`, () => {
        sort(grid, column, head.getAttribute("aria-sort") === "descending" || (!column && !head.hasAttribute("aria-sort")) ? 1 : -1);
        remember();
      }));
    });
  }

  const name = grid => grid.querySelector("h3").id;
  const sections = () => [...document.querySelectorAll("section > details")].filter(one => one.parentElement.id !== "explore");
  const closed = new Map(sections().map(one => [one, one.open]));
  parts.tables = {
    write: () => tables().flatMap(grid => {
      const head = grid.querySelector("[aria-sort]"), field = grid.querySelector(".tools input");
      return [...(head ? [[`sort.${name(grid)}`, `${head.cellIndex} ${head.getAttribute("aria-sort")}`]] : []),
        ...(field && field.value ? [[`rows.${name(grid)}`, field.value]] : [])];
    }),
    read: found => {
      for (const grid of tables()) {
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

  let quiet = true;
  function remember() {
    if (quiet) return;
    const held = new URLSearchParams(Object.values(parts).flatMap(part => part.write()));
    history.replaceState(null, "", held.size ? `#${held}` : location.pathname + location.search);
  }

  function go() {
    const fragment = location.hash.slice(1), target = document.getElementById(fragment);
    quiet = true;
    if (target) (target.querySelector("details") ?? target.closest("details") ?? {}).open = true;
    const found = new URLSearchParams(target ? "" : fragment);
    for (const [part, own] of Object.entries(parts)) if (!target || part === "explore") own.read(found);
    if (target) target.scrollIntoView();
    setTimeout(() => { quiet = false; }, 300);
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
