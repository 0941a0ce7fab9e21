// Draws the charts of a page with uPlot, in the colours of the style sheet, with the figures as a table beside them.
"use strict";

const Charts = (() => {
  const drawn = new Map(); // section -> [{uplot, host}]

  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

  const element = (tag, className, text) => {
    const made = document.createElement(tag);
    if (className) made.className = className;
    if (text !== undefined) made.textContent = text;
    return made;
  };

  const written = (value) => (value == null ? "–" : Number(value.toPrecision(4)).toString());

  function options(chart, width) {
    const axis = { stroke: colour("muted"), grid: { stroke: colour("line"), width: 1 }, ticks: { show: false }, font: "12px system-ui, sans-serif" };
    return {
      width,
      height: 220,
      cursor: { points: { size: 7 } },
      scales: { x: { time: false } },
      axes: [
        { ...axis, label: "round", labelSize: 20, labelFont: "12px system-ui, sans-serif", size: 34, space: 40, incrs: [1, 2, 5, 10, 20, 50, 100], grid: { show: false } },
        { ...axis, size: 52 },
      ],
      series: [
        { label: "round" },
        ...chart.series.map((line) => ({
          label: line.name,
          stroke: colour(["influence", "uniform", "supervised", "oracle"].includes(line.colour) ? line.colour : "muted"),
          dash: line.dash,
          width: 2,
          spanGaps: true,
          points: { show: chart.rounds.length < 40, size: 5 },
          value: (_, value) => (value == null ? "" : written(value)),
        })),
      ],
    };
  }

  function figures(chart) {
    const details = element("details");
    details.append(element("summary", "", "The figures"));
    const scroll = element("div", "scroll");
    scroll.tabIndex = 0;
    scroll.setAttribute("role", "region");
    scroll.setAttribute("aria-label", `Figures of ${chart.title}`);
    const table = element("table");
    const head = table.createTHead().insertRow();
    for (const name of ["Round", ...chart.series.map((line) => line.name)]) {
      const cell = element("th", "", name);
      cell.scope = "col";
      head.append(cell);
    }
    const body = table.createTBody();
    chart.rounds.forEach((round, place) => {
      const row = body.insertRow();
      const cell = element("th", "", String(round));
      cell.scope = "row";
      row.append(cell);
      for (const line of chart.series) row.insertCell().textContent = written(line.values[place]);
    });
    scroll.append(table);
    details.append(scroll);
    return details;
  }

  function draw(section, charts) {
    const place = section.querySelector(".charts");
    for (const one of drawn.get(section) || []) one.uplot.destroy();
    const open = new Set([...place.querySelectorAll("details[open]")].map((details) => details.closest("figure").id));
    place.replaceChildren();
    const note = section.querySelector("[data-charts-note]");
    if (!charts.length) place.append(element("p", "empty", section.dataset.chartsEmpty));
    note.hidden = !charts.length;
    const hosts = charts.map((chart) => {
      const figure = element("figure", "chart");
      figure.id = `chart-${chart.key}`;
      const caption = element("figcaption");
      caption.append(element("b", "", chart.title), `, ${chart.unit}`);
      const host = element("div", "canvas");
      host.setAttribute("role", "img");
      host.setAttribute("aria-label", `${chart.title} over ${chart.rounds.length} rounds: ${chart.series.map((line) => `${line.name} ends at ${written(line.values.at(-1))}`).join(", ")}`);
      const table = figures(chart);
      table.open = open.has(figure.id);
      figure.append(caption, host, table);
      place.append(figure);
      return host;
    });
    // Only now is each as wide as it will be.
    drawn.set(section, charts.map((chart, number) => {
      const host = hosts[number];
      const data = [chart.rounds, ...chart.series.map((line) => line.values)];
      return { uplot: new uPlot(options(chart, host.clientWidth), data, host), host };
    }));
  }

  async function load(section) {
    try {
      const answer = await fetch(section.dataset.charts);
      if (!answer.ok) throw new Error(String(answer.status));
      const { charts } = await answer.json();
      section.charts = charts;
      draw(section, charts);
    } catch (error) {
      section.querySelector(".charts").replaceChildren(element("p", "empty", "The figures could not be read. Load the page again."));
    }
  }

  const sections = () => document.querySelectorAll("[data-charts]");
  const all = () => Promise.all([...sections()].map(load));

  addEventListener("resize", () => {
    for (const charts of drawn.values()) for (const { uplot, host } of charts) uplot.setSize({ width: host.clientWidth, height: 220 });
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    for (const section of sections()) if (section.charts) draw(section, section.charts);
  });
  return { all };
})();
