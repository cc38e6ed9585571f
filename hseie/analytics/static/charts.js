"use strict";
// Line charts with uPlot, in the colours of the page, which follow light and dark.

const HEIGHT = 240;
const _charts = [];

function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

function _axis(more) {
  return {
    stroke: () => colour("quiet"),
    grid: { stroke: () => colour("line"), width: 1 },
    ticks: { stroke: () => colour("line"), width: 1 },
    font: "12px system-ui, sans-serif",
    ...more,
  };
}

// A chart in `box`. `series`: label, colour (name of a variable of the page), dash, unit, digits, scale, and whether the scale
// begins at zero. Lines are told apart by their dashes too, and the legend names values with their units.
function makeChart(box, series) {
  const scales = {};
  for (const one of series) {
    scales[one.scale] = one.zero
      ? { range: (chart, least, most) => [0, Math.max(most || 0, 1) * 1.1] }
      : { range: (chart, least, most) => (least === null ? [0, 1] : [least - Math.max(0.5, (most - least) / 10), most + Math.max(0.5, (most - least) / 10)]) };
  }
  const chart = new uPlot(
    {
      width: Math.max(box.clientWidth, 200),
      height: HEIGHT,
      legend: { live: true },
      cursor: { drag: { x: false, y: false } },
      scales: { x: { time: true }, ...scales },
      series: [
        { label: "Time", value: (chart, at) => (at == null ? "–" : new Date(at * 1000).toLocaleTimeString("en-GB")) },
        ...series.map((one) => ({
          label: one.label,
          scale: one.scale,
          stroke: () => colour(one.colour),
          width: 2,
          dash: one.dash,
          spanGaps: false,
          points: { show: one.points || false },
          value: (chart, value) => (value == null ? "–" : `${number(value, one.digits)} ${one.unit}`),
        })),
      ],
      axes: [
        _axis({ values: (chart, times) => times.map((at) => clockTime(at, times[1] - times[0] < 60)), space: 80 }),
        ...[...new Map(series.map((one) => [one.scale, one])).values()].map((one, place) =>
          _axis({
            scale: one.scale,
            side: place ? 1 : 3,
            size: 64,
            grid: { show: !place, stroke: () => colour("line"), width: 1 },
            values: (chart, values) => values.map((value) => number(value, Number.isInteger(value) ? 0 : 1)),
          }),
        ),
      ],
    },
    [[], ...series.map(() => [])],
    box,
  );
  _charts.push({ chart, box });
  return chart;
}

function removeChart(chart) {
  const place = _charts.findIndex((one) => one.chart === chart);
  if (place >= 0) _charts.splice(place, 1);
  chart.destroy();
}

new ResizeObserver(() => {
  for (const { chart, box } of _charts) {
    if (box.clientWidth > 0 && box.clientWidth !== chart.width) chart.setSize({ width: box.clientWidth, height: HEIGHT });
  }
}).observe(document.documentElement);

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  for (const { chart } of _charts) chart.redraw(false, true);
});

function clockTime(at, withSeconds) {
  return new Date(at * 1000).toLocaleTimeString("en-GB", withSeconds ? {} : { hour: "2-digit", minute: "2-digit" });
}

function number(value, digits) {
  return value.toLocaleString("en-GB", { minimumFractionDigits: digits, maximumFractionDigits: digits });
}
