// The interactive figures: two scatter plots over all networks, a box in one selects in both and in the page's tables.
(() => {
  const held = JSON.parse(document.getElementById("held").textContent), columns = Object.entries(held.columns);
  const at = (column, row) => Array.isArray(column) ? column[row] : column.codes[row] < 0 ? null : column.words[column.codes[row]];
  const rows = held.columns.removed.map((_, row) => Object.fromEntries(columns.map(([name, column]) => [name, at(column, row)])));
  const element = name => document.getElementById(name), axes = Object.keys(held.axes), places = ["x1", "y1", "x2", "y2"];
  // what a path has beside a network's own facts: each later round lies below the one before
  const levels = row => ({...row, step: row.step || row.removed, rounds: Array.from({length: Math.max(0, row.round - 1)}, (_, at) => `/round=${at + 2}`).join("")});
  const folder = row => held.folders[row.removed ? 1 : 0].replace(/\{(\w+)\}/g, (_, name) => levels(row)[name]);
  const style = name => getComputedStyle(document.body).getPropertyValue(name).trim();
  const most = 12, alone = new Set(rows.map(row => row.group)).size === 1, views = {};
  let chosen = {}, box = null, told = 0, order = {by: "", up: false};

  const known = /^[\w.=/-]+$/;
  for (const row of rows) {
    row.name = `${alone ? row.ticket.slice(row.group.length + 2) : row.ticket}, seed ${row.seed}${row.draw === "0" ? "" : `, draw ${row.draw}`}`;
    row.folder = folder(row);
    row.command = known.test(row.folder) ? `${held.command[0]}${row.folder}/weights.safetensors ${held.command[1]}`.trim() : "";
    row.words = row.name.toLowerCase();
    const facts = ["dataset", "network", "seed", "structure", "criterion", "draw", "removed", "rewind", "step", "round"].map(name => `${name}=${row[name] ?? "dense"}`);
    row.facts = [...row.words.split(/[\s,()·\u00a0]+/), ...facts, `p=${row.removed}`, `rewind=${row.rewind.split("-")[0]}`, row.criterion ?? "dense"].map(fact => fact.toLowerCase());
  }

  // what the filter leaves, and of it what the box holds; a word that is whole somewhere is meant as a whole
  const words = () => element("filter").value.toLowerCase().replace(/\b(seed|draw|p|removed)[\s=]+(\d+)/g, "$1=$2")
    .replace(/\b(\d+)(?:\s*%)?\s+removed\b/g, "removed=$1").split(/[\s,]+/).filter(Boolean);
  let wanted = [];
  const want = () => { wanted = words().map(word => ({word, whole: rows.some(row => row.facts.includes(word))})); };
  const passes = row => wanted.every(({word, whole}) => whole ? row.facts.includes(word) : row.words.includes(word));
  const inside = row => !box || ["x", "y"].every(way => {
    const value = row[chosen[way + box.view]];
    return value !== null && value >= box[way][0] && value <= box[way][1];
  });

  const seen = view => rows.filter(row => passes(row) && row[chosen["x" + view]] !== null && row[chosen["y" + view]] !== null)
    .map(row => ({...row, on: inside(row)}));

  function spec(view) {
    const [x, y] = [chosen["x" + view], chosen["y" + view]], ink = style("--ink"), muted = style("--muted"), grid = style("--grid");
    const families = Object.keys(held.looks), own = box && box.view === view ? {x: box.x, y: box.y} : undefined;
    const scale = {zero: false, nice: true, padding: 8};
    const shown = seen(view);
    return {
      width: "container", height: 300, background: null, autosize: {type: "fit", contains: "padding"},
      data: {name: "rows", values: shown},
      params: [{name: "box", select: {type: "interval", encodings: ["x", "y"], mark: {fill: ink, fillOpacity: .08, stroke: muted}}, ...(own && {value: own})}],
      mark: {type: "point", filled: true, size: shown.length > 800 ? 18 : 45, strokeWidth: 0},
      encoding: {
        x: {field: x, type: "quantitative", title: held.axes[x], scale},
        y: {field: y, type: "quantitative", title: held.axes[y], scale},
        color: {field: "family", type: "nominal", legend: null, scale: {domain: families, range: families.map(name => style(held.looks[name][0]))}},
        shape: {field: "family", type: "nominal", legend: null, scale: {domain: families, range: families.map(name => held.looks[name][1])}},
        opacity: {condition: {test: "datum.on", value: .8}, value: .1},
        tooltip: [{field: "name", title: "network"}, {field: y, title: held.axes[y]}, {field: x, title: held.axes[x]}, {field: "command", title: "made by"}],
      },
      config: {axis: {labelColor: muted, titleColor: ink, gridColor: grid, domainColor: muted, tickColor: muted, labelFontSize: 12, titleFontSize: 12}, view: {stroke: null}, font: getComputedStyle(document.body).fontFamily},
    };
  }

  async function draw(view) {
    const made = await vegaEmbed(element("view" + view), spec(view), {actions: false, tooltip: {theme: matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light"}, renderer: rows.length > 800 ? "canvas" : "svg"});
    if (views[view]) views[view].finalize();
    views[view] = made.view;
    element("view" + view).firstElementChild.ariaHidden = "true";
    made.view.addSignalListener("box", (_, held) => boxed(view, held));
  }

  function boxed(view, found) {
    const x = found[chosen["x" + view]], y = found[chosen["y" + view]];
    if (!x || !y) { if (box && box.view === view) { box = null; follow(); } return; }
    const others = box && box.view !== view;
    box = {view, x: [Math.min(...x), Math.max(...x)], y: [Math.min(...y), Math.max(...y)]};
    // a box is in one figure only
    if (others) draw(3 - view);
    follow();
  }

  // the dots, the table and the page's other tables, once the hand rests
  function follow() {
    clearTimeout(told);
    told = setTimeout(() => {
      for (const view of [1, 2]) {
        if (views[view]) views[view].data("rows", seen(view)).run();
      }
      list();
      layerlottery.remember();
    }, 60);
  }

  // a network that is both a ticket of one removal and the first of several rounds stands in two rows
  const networks = rows => new Set(rows.map(row => row.folder)).size;

  function list() {
    const shown = rows.filter(row => passes(row) && inside(row)), some = shown.length < rows.length;
    const tickets = new Set(shown.map(row => row.ticket));
    element("count").textContent = `${networks(shown)} of ${networks(rows)} networks`;
    for (const row of document.querySelectorAll("tr[data-ticket]")) row.classList.toggle("elsewhere", some && !tickets.has(row.dataset.ticket));
    const heads = [...new Set(["y1", "x1", "y2", "x2"].map(place => chosen[place]))];
    const grid = element("networks"), cells = row => [row.name, ...heads.map(name => row[name] === null ? "–" : String(+row[name].toPrecision(4)).replace("-", "−"))];
    const titles = ["network", ...heads.map(name => held.axes[name])], by = heads.includes(order.by) || order.by === "name" ? order.by : heads[0];
    const last = order.up ? Infinity : -Infinity, way = order.up ? 1 : -1;
    const ranked = shown.toSorted((a, b) => way * (by === "name" ? a.name.localeCompare(b.name, undefined, {numeric: true}) : (a[by] ?? last) - (b[by] ?? last) || 0));
    grid.querySelector("thead").replaceChildren(line("th", titles));
    grid.querySelector("tbody").replaceChildren(...ranked.slice(0, most).map(row => {
      const made = line("td", cells(row), titles.slice(1));
      if (!known.test(row.folder)) return made;
      const link = document.createElement("a");
      [link.href, link.textContent] = [`${encodeURI(held.pages)}/${row.folder.replace("networks/", "")}.html`, row.name];
      made.firstChild.replaceChildren(link);
      return made;
    }));
    element("more").textContent = !shown.length ? "No network is called so, or lies in the box."
      : shown.length > most ? `The first ${most} of ${shown.length}; copies hold all. Drag a smaller box, or filter, to see others.` : "";
    layerlottery.tools(grid, {all: () => [titles, ...ranked.map(cells)], sort: column => {
      const chosen = column ? heads[column - 1] : "name";
      order = {by: chosen, up: chosen === by ? !order.up : !column};
      list();
      layerlottery.remember();
    }});
    grid.querySelectorAll("thead th")[by === "name" ? 0 : heads.indexOf(by) + 1].setAttribute("aria-sort", order.up ? "ascending" : "descending");
  }

  function line(kind, texts, labels = []) {
    const made = document.createElement("tr");
    texts.forEach((text, place) => {
      const cell = document.createElement(place ? kind : "th");
      cell.textContent = text;
      if (cell.tagName === "TH") cell.scope = kind === "th" ? "col" : "row";
      if (place && labels.length) cell.dataset.label = labels[place - 1];
      made.append(cell);
    });
    return made;
  }

  const both = () => { want(); draw(1); draw(2); list(); };
  layerlottery.parts.explore = {
    write: () => [...places.filter(place => chosen[place] !== held.first[place]).map(place => [place, chosen[place]]),
      ...(element("filter").value ? [["show", element("filter").value]] : []),
      ...(order.by ? [["by", `${order.by} ${order.up ? "up" : "down"}`]] : []),
      ...(box ? [["box", [box.view, ...box.x, ...box.y].map(value => +value.toPrecision(6)).join(" ")]] : [])],
    read: found => {
      for (const place of places) chosen[place] = axes.includes(found.get(place)) ? found.get(place) : held.first[place];
      for (const place of places) element(place).value = chosen[place];
      element("filter").value = found.get("show") ?? "";
      const [by, way] = (found.get("by") ?? "").split(" ");
      order = {by, up: way === "up"};
      const numbers = (found.get("box") ?? "").split(" ").map(Number);
      box = numbers.length === 5 && numbers.every(Number.isFinite) && [1, 2].includes(numbers[0]) ? {view: numbers[0], x: numbers.slice(1, 3), y: numbers.slice(3)} : null;
      both();
    },
  };

  for (const one of [element("explore"), ...document.querySelectorAll(".scripted")]) one.hidden = false;
  for (const place of places) {
    element(place).append(...axes.map(name => new Option(held.axes[name], name)));
    element(place).addEventListener("change", () => {
      chosen[place] = element(place).value;
      if (box && String(box.view) === place[1]) box = null;
      both();
      layerlottery.remember();
    });
  }
  const example = rows.find(row => row.removed && !row.control) ?? rows[0];
  element("filter").placeholder = `${example.criterion ?? "dense"} removed=${example.removed} seed=${example.seed}`;
  element("filter").addEventListener("input", () => { both(); layerlottery.remember(); });
  element("clear").addEventListener("click", () => { [element("filter").value, box] = ["", null]; both(); layerlottery.remember(); });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", both);
})();
