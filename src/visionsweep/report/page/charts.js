"use strict";
// The charts: curves of runs with their switches, and learning curves.

const facts = JSON.parse(document.getElementById("chart-facts").textContent);
const colour = (name) => getComputedStyle(root).getPropertyValue(`--${name}`).trim();
const shown = () => (root.hasAttribute("data-printing") || !isDark() ? 0 : 1);
const read = (id) => JSON.parse(document.getElementById(id).textContent);
// Plotly takes some HTML in texts; names are the user's, and are to be shown as they are.
const plain = (text) => text.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
const clear = (hex, alpha) => hex + Math.round(255 * alpha).toString(16).padStart(2, "0");
const still = { displayModeBar: false, responsive: true, doubleClick: "reset" };
const touch = matchMedia("(pointer: coarse)").matches;
const redraws = [];

function layout(title, more = {}) {
  const axis = {
    gridcolor: colour("rule"), linecolor: colour("edge"), zeroline: false, automargin: true,
    title: { font: { size: 13 } }, ticks: "outside", tickcolor: colour("edge"), ticklen: 4,
  };
  const font = { family: getComputedStyle(document.body).fontFamily, size: 13 };
  return {
    font: { ...font, color: colour("quiet") },
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", showlegend: false,
    margin: { l: 52, r: 12, t: 12, b: 44 }, hovermode: "closest", dragmode: touch ? false : "zoom",
    hoverlabel: {
      bgcolor: colour("raised"), bordercolor: colour("edge"), align: "left", namelength: -1,
      font: { ...font, color: colour("ink") },
    },
    xaxis: { ...axis, showgrid: false, ...more.xaxis, title: { ...axis.title, text: more.across } },
    yaxis: { ...axis, ...more.yaxis, title: { ...axis.title, text: title } },
  };
}

// Curves --------------------------------------------------------------------------------------

function written(score, value) {
  if (value === null || value === undefined) return score === "accuracy" ? "" : "diverged";
  return score === "accuracy" ? `${(100 * value).toFixed(1)}%` : value.toFixed(4);
}

function tracesOf(run, { split, score }, on) {
  const [mean, low, high] = run.series[`${split}.${score}`];
  const line = facts.lines[run.colour][shown()];
  const dash = facts.dashes[run.dash].split(" ").filter(Boolean).map((n) => `${n}px`).join(",");
  const texts = mean.map((value, i) => {
    const range = low.length
      ? `<br>replicates ${written(score, low[i])} to ${written(score, high[i])}` : "";
    return `<b>${plain(run.name)}</b><br>epoch ${run.epochs[i]}: ${written(score, value)}${range}`;
  });
  return [
    {
      x: low.length ? [...run.epochs, ...[...run.epochs].reverse()] : [],
      y: low.length ? [...high, ...[...low].reverse()] : [],
      type: "scatter", mode: "lines", line: { width: 0 }, fill: "toself",
      fillcolor: clear(line, 0.13), hoverinfo: "skip", visible: on,
    },
    {
      x: run.epochs, y: mean, type: "scatter", mode: "lines+markers", visible: on,
      line: { color: line, width: 2, dash: dash || "solid" },
      marker: { color: line, size: run.epochs.length > 30 ? 3 : 6 },
      text: texts, hoverinfo: "text",
    },
    {
      x: run.epochs.slice(-1), y: [run.deployed[`${split}.${score}`]], type: "scatter", mode: "markers",
      visible: on && `${split}.${score}` in run.deployed,
      marker: { color: line, size: 11, symbol: "diamond-open", line: { color: line, width: 2 } },
      text: [`<b>${plain(run.name)}</b><br>deployed: ${written(score, run.deployed[`${split}.${score}`])}`],
      hoverinfo: "text",
    },
  ];
}

function setUpCurves(section) {
  const key = section.dataset.group;
  const runs = read(`${key}-curves-data`);
  const chart = document.getElementById(`${key}-chart`);
  const boxes = [...section.querySelectorAll(".runs input")];
  const numbers = section.querySelector(".behind-chart");
  const picked = (name) => section.querySelector(`input[name="${key}-${name}"]:checked`);
  const chosen = () => ({ split: picked("split").value, score: picked("score").value });
  const title = () => `${picked("split").parentElement.textContent.trim()} ${picked("score").value}`;

  function draw() {
    const choice = chosen();
    const percent = choice.score === "accuracy" ? { tickformat: ".0%" } : { rangemode: "normal" };
    const ticks = { dtick: Math.max(...runs.map((run) => run.epochs.length)) <= 12 ? 1 : undefined };
    Plotly.react(
      chart, runs.flatMap((run, i) => tracesOf(run, choice, boxes[i].checked)),
      layout(title(), { across: "epoch", xaxis: ticks, yaxis: percent }), still,
    );
    boxes.forEach((box, i) => {
      const path = box.parentElement.querySelector("path");
      path.style.stroke = facts.lines[runs[i].colour][shown()];
      path.style.strokeDasharray = facts.dashes[runs[i].dash];
    });
    if (numbers.open) tabulate();
  }

  function tabulate() {
    const { split, score } = chosen();
    const longest = runs.reduce((a, b) => (b.epochs.length > a.length ? b.epochs : a), []);
    const heads = ["run", ...longest.map((epoch) => `epoch ${epoch}`)];
    const cell = (value) => `<td class="number">${value === undefined ? "" : written(score, value)}</td>`;
    const rows = runs.map((run) => {
      const [values] = run.series[`${split}.${score}`];
      const [known] = run.series[`${split}.accuracy`]; // an epoch that was not scored has none
      const cells = longest.map((_, i) => cell(known[i] === null ? undefined : values[i])).join("");
      return `<tr><th scope="row">${plain(run.name)}</th>${cells}</tr>`;
    });
    numbers.querySelector("div").innerHTML = `<table><caption>${title()}</caption><thead><tr>
      ${heads.map((text) => `<th scope="col">${text}</th>`).join("")}
    </tr></thead><tbody>${rows.join("")}</tbody></table>`;
  }

  function show(indices) {
    const { split, score } = chosen();
    const traces = indices.flatMap((i) => [3 * i, 3 * i + 1, 3 * i + 2]);
    const visible = indices.flatMap((i) => {
      const on = boxes[i].checked;
      return [on, on, on && `${split}.${score}` in runs[i].deployed];
    });
    if (traces.length) Plotly.restyle(chart, { visible }, traces);
  }

  boxes.forEach((box, i) => box.addEventListener("change", () => show([i])));
  for (const button of section.querySelectorAll("[data-show]")) {
    button.addEventListener("click", () => {
      const wanted = (run) => ({
        all: true, none: false, marked: run.mark === "recommended" || run.mark === "possible",
      })[button.dataset.show];
      boxes.forEach((box, i) => { box.checked = wanted(runs[i]); });
      show(boxes.map((_, i) => i));
    });
  }
  for (const radio of section.querySelectorAll(".choice input")) {
    radio.addEventListener("change", draw);
  }
  numbers.addEventListener("toggle", () => { if (numbers.open) tabulate(); });
  redraws.push(draw);
}

// Learning curve ------------------------------------------------------------------------------

function setUpLearning(section) {
  const key = section.dataset.group;
  const chart = document.getElementById(`${key}-learning`);
  if (!chart) return;
  const curve = read(`${key}-learning-data`);
  const range = ([value, low, high]) => (low === null || high === null
    ? written("loss", value) : `${written("loss", value)} [${written("loss", low)}, ${written("loss", high)}]`);
  function dots(x, points, symbol, what) {
    const line = colour("accent");
    return {
      x, y: points.map(([value]) => value), type: "scatter", mode: "markers",
      error_y: {
        type: "data", symmetric: false, thickness: 1.5, width: 4, color: line,
        array: points.map(([value, , high]) => high - value),
        arrayminus: points.map(([value, low]) => value - low),
      },
      marker: { color: line, size: 9, symbol, line: { color: line, width: 2 } },
      text: points.map((point, i) => `${x[i]} training images<br>${what}: ${range(point)}`),
      hoverinfo: "text",
    };
  }

  redraws.push(() => {
    const line = colour("accent");
    const ticks = [...curve.images, curve.doubled_images];
    Plotly.react(chart, [
      {
        x: [...curve.at, ...[...curve.at].reverse()], y: [...curve.high, ...[...curve.low].reverse()],
        type: "scatter", mode: "lines", line: { width: 0 }, fill: "toself",
        fillcolor: clear(line, 0.14), hoverinfo: "skip",
      },
      { x: curve.at, y: curve.fitted, type: "scatter", mode: "lines", line: { color: line, width: 2 }, hoverinfo: "skip" },
      dots(curve.images, curve.losses, "circle", "measured"),
      dots([curve.doubled_images], [curve.doubled], "circle-open", "forecast"),
    ], layout(`${curve.kind} loss`, {
      across: "training images",
      xaxis: { type: "log", tickvals: ticks, ticktext: ticks.map(String) },
    }), still);
  });
}

for (const section of document.querySelectorAll("[data-group]")) {
  setUpCurves(section);
  setUpLearning(section);
}
const redraw = () => redraws.forEach((draw) => draw());
redraw();
// Plotly measures texts in a drawing of its own off the screen, which nobody should hear of.
document.getElementById("js-plotly-tester")?.setAttribute("aria-hidden", "true");
document.addEventListener("themechange", redraw);

// Printed pages are light, whatever the screen shows.
addEventListener("beforeprint", () => { root.setAttribute("data-printing", ""); redraw(); });
addEventListener("afterprint", () => { root.removeAttribute("data-printing"); redraw(); });
