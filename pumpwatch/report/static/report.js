// Draws the charts in the page's colours, and again when the reader turns light into dark.
"use strict";
(() => {
  const root = document.documentElement;
  const charts = JSON.parse(document.getElementById("charts").textContent);
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const config = { displaylogo: false, responsive: true, displayModeBar: false };

  // A text that begins with two dashes names one of the page's colours.
  function coloured(value, style) {
    if (typeof value === "string") return value.startsWith("--") ? style.getPropertyValue(value).trim() : value;
    if (Array.isArray(value)) return value.map((one) => coloured(one, style));
    if (value && typeof value === "object") {
      return Object.fromEntries(Object.entries(value).map(([name, one]) => [name, coloured(one, style)]));
    }
    return value;
  }

  async function draw() {
    const style = getComputedStyle(root);
    for (const [id, chart] of Object.entries(charts)) {
      const { data, layout } = coloured(chart, style);
      await Plotly.react(id, data, layout, config);
    }
    document.body.dataset.state = "drawn";
  }

  function choose(theme) {
    root.dataset.theme = theme;
    document.getElementById("theme").textContent = theme === "dark" ? "light" : "dark";
    draw();
  }

  document.getElementById("theme").addEventListener("click", () => choose(root.dataset.theme === "dark" ? "light" : "dark"));
  dark.addEventListener("change", () => choose(dark.matches ? "dark" : "light"));
  choose(dark.matches ? "dark" : "light");
})();
