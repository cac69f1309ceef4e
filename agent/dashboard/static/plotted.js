// Charts by the vendored plotly in the page's colours; plotly is loaded with the first chart.

import { css } from "./paint.js";

let loading = null;

function plotly() {
  loading ??= new Promise((resolve, reject) => {
    const script = document.createElement("script");
    script.src = "static/plotly-cartesian-4.1.1.min.js";
    script.onload = () => resolve(window.Plotly ?? window.moduleName);
    script.onerror = reject;
    document.head.append(script);
  });
  return loading;
}

const CONFIG = { displaylogo: false, responsive: true, displayModeBar: false, scrollZoom: false };

// Draws traces into `box`; `x` and `y` are axis titles, `more` is merged into the layout.
export async function chart(box, traces, x, y, more = {}) {
  const Plotly = await plotly();
  const axis = (title) => ({
    title: { text: title, font: { size: 12 }, standoff: 6 }, gridcolor: css("--line"), zerolinecolor: css("--line"), linecolor: css("--line"),
    tickfont: { size: 11 }, automargin: true,
  });
  const { xaxis = {}, yaxis = {}, ...rest } = more;
  const layout = {
    margin: { l: 52, r: 8, t: 8, b: 42 }, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", hovermode: "closest",
    font: { family: "system-ui, sans-serif", size: 12, color: css("--text") },
    legend: { font: { size: 11.5 }, itemsizing: "constant", tracegroupgap: 0 },
    hoverlabel: { font: { size: 12 } },
    xaxis: { ...axis(x), ...xaxis }, yaxis: { ...axis(y), ...yaxis }, ...rest,
  };
  await Plotly.react(box, traces, layout, CONFIG);
  return Plotly;
}
