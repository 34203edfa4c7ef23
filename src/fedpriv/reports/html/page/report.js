// Draws the figures in the page's theme, and again when the theme changes; sorts tables; opens all for print.
"use strict";
(() => {
  const root = document.documentElement;
  const read = (id) => JSON.parse(document.getElementById(id).textContent);
  const themes = read("themes");
  const figures = read("figures");
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const button = document.getElementById("theme");
  const remembered = {
    get: () => { try { return localStorage.getItem("fedpriv-theme"); } catch { return null; } },
    set: (value) => { try { localStorage.setItem("fedpriv-theme", value); } catch { /* a file: page may not */ } },
  };
  let choice = remembered.get() ?? "auto";
  let printing = false;
  let views = new Map();

  const theme = () => (printing ? "light" : choice === "auto" ? (dark.matches ? "dark" : "light") : choice);

  // Legends wrap as the figure's width allows; Vega would let them run out of it.
  const config = (width, spec) => {
    const base = themes[theme()];
    const names = Object.values(spec.datasets ?? {}).flat().map((row) => row.setting ?? row.where ?? "");
    const longest = Math.max(10, ...names.map((name) => name.length));
    const entry = 45 + Math.min(7 * longest, base.legend.labelLimit);
    return { ...base, legend: { ...base.legend, columns: Math.max(1, Math.floor((width - 60) / entry)) } };
  };

  async function draw(id) {
    const place = document.getElementById(id);
    const options = {
      mode: "vega-lite", renderer: "svg", config: config(place.clientWidth, figures[id]), ast: true,
      tooltip: { theme: theme() },
      actions: { export: true, source: false, compiled: false, editor: false },
      downloadFileName: place.dataset.name,
    };
    try {
      const drawn = await vegaEmbed(place, figures[id], options);
      views.get(id)?.finalize();
      views.set(id, drawn);
      place.dataset.drawn = theme();
    } catch (error) {
      place.textContent = "This figure could not be drawn: " + error.message;
    }
  }

  const drawAll = () => Promise.all(Object.keys(figures).map(draw));

  function apply() {
    root.dataset.theme = theme();
    button.textContent = "Theme: " + choice;
    return drawAll();
  }

  button.addEventListener("click", () => {
    const order = ["auto", "light", "dark"];
    choice = order[(order.indexOf(choice) + 1) % order.length];
    remembered.set(choice);
    apply();
  });
  dark.addEventListener("change", () => choice === "auto" && apply());

  let width = root.clientWidth, waiting;
  addEventListener("resize", () => {
    clearTimeout(waiting);
    waiting = setTimeout(() => {
      if (root.clientWidth !== width) { width = root.clientWidth; drawAll(); }
    }, 200);
  });

  let closed = [];
  addEventListener("beforeprint", () => {
    closed = [...document.querySelectorAll("details:not([open]):not(.vega-embed details)")];
    for (const each of closed) each.open = true;
    printing = true;
    apply();
  });
  addEventListener("afterprint", () => {
    for (const each of closed) each.open = false;
    printing = false;
    apply();
  });

  // A click on a heading sorts by that column: numbers as numbers.
  for (const heading of document.querySelectorAll("table.sortable th")) {
    const label = document.createElement("button");
    label.append(...heading.childNodes);
    heading.append(label);
    label.addEventListener("click", () => {
      const up = heading.getAttribute("aria-sort") !== "ascending";
      for (const other of heading.parentNode.children) other.removeAttribute("aria-sort");
      heading.setAttribute("aria-sort", up ? "ascending" : "descending");
      const body = heading.closest("table").tBodies[0];
      const key = (row) => row.cells[heading.cellIndex].textContent.trim();
      const number = (text) => (text === "" || isNaN(text.replaceAll(",", "")) ? null : Number(text.replaceAll(",", "")));
      const rows = [...body.rows].sort((one, two) => {
        const [a, b] = [key(one), key(two)], [x, y] = [number(a), number(b)];
        const order = x !== null && y !== null ? x - y : x !== null ? -1 : y !== null ? 1 : a.localeCompare(b);
        return up ? order : -order;
      });
      body.append(...rows);
    });
  }

  apply().then(() => { root.dataset.ready = "yes"; });
})();
