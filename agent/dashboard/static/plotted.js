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

const WIDTH_SHARE = 0.6, HEIGHT_SHARE = 0.75;  // of a chart that its axes take up, with the legend beside them
const LETTER_PX = 6.2;  // mean width of a letter of an axis title

// A title broken into lines that fit beside an axis of so many pixels; plotly would cut off what is longer.
function lines(title, px) {
  const most = Math.max(12, Math.floor(px / LETTER_PX)), found = [""];
  for (const word of title.split(" ")) {
    if (found.at(-1) && found.at(-1).length + 1 + word.length > most) found.push(word);
    else found[found.length - 1] = found.at(-1) ? `${found.at(-1)} ${word}` : word;
  }
  return found.join("<br>");
}

// Draws traces into `box`; `x` and `y` are axis titles, `more` is merged into the layout.
export async function chart(box, traces, x, y, more = {}) {
  const Plotly = await plotly();
  const axis = (title, px) => ({
    title: { text: lines(title, px), font: { size: 12 }, standoff: 6 }, gridcolor: css("--line"), zerolinecolor: css("--line"), linecolor: css("--line"),
    tickfont: { size: 11 }, automargin: true,
  });
  const { xaxis = {}, yaxis = {}, ...rest } = more;
  const layout = {
    margin: { l: 52, r: 8, t: 8, b: 42 }, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", hovermode: "closest",
    font: { family: "system-ui, sans-serif", size: 12, color: css("--text") },
    legend: { font: { size: 11.5 }, itemsizing: "constant", tracegroupgap: 0 },
    hoverlabel: { font: { size: 12 } },
    xaxis: { ...axis(x, WIDTH_SHARE * (box.clientWidth || 400)), ...xaxis },
    yaxis: { ...axis(y, HEIGHT_SHARE * (box.clientHeight || 300)), ...yaxis }, ...rest,
  };
  await Plotly.react(box, traces, layout, CONFIG);
  return Plotly;
}
