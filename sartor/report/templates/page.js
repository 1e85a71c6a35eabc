"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const SVG = "http://www.w3.org/2000/svg";
  const byId = (id) => document.getElementById(id);
  const STATE = Object.fromEntries(data.states.map((name, i) => [name, i]));

  // --- making elements; text only ever becomes text nodes

  function html(name, attributes, ...children) {
    const element = document.createElement(name);
    for (const [key, value] of Object.entries(attributes || {})) element.setAttribute(key, value);
    element.append(...children);
    return element;
  }
  function svg(name, attributes, parent, text) {
    const element = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) if (value !== undefined) element.setAttribute(key, value);
    if (text !== undefined) element.textContent = text;
    if (parent) parent.append(element);
    return element;
  }

  // --- numbers: the same texts as sartor.units.format_figure (a test compares them)

  // Python's "%.{digits}g": ties, as 1.125 to three digits, go to the even neighbour.
  function significant(value, digits) {
    if (value === 0) return "0";
    let [mantissa, power] = value.toExponential(digits - 1).split("e");
    const exact = value.toExponential(digits + 40).split("e");
    const figures = exact[0].replace(/[-.]/g, "");
    if (/^50*$/.test(figures.slice(digits)) && Number(figures[digits - 1]) % 2 === 0) {
      mantissa = `${value < 0 ? "-" : ""}${figures[0]}.${figures.slice(1, digits)}0`;
      power = exact[1];
    }
    const exponent = Number(power);
    if (exponent < -4 || exponent >= digits) {
      return `${Number(mantissa)}e${exponent < 0 ? "-" : "+"}${String(Math.abs(exponent)).padStart(2, "0")}`;
    }
    return String(Number(`${mantissa}e${power}`));
  }
  function scaled(value, sizes) {
    for (const [size, label] of sizes) if (value >= size) return `${significant(value / size, 3)}${label}`;
    return null;
  }
  const BYTES = [[2 ** 30, " GiB"], [2 ** 20, " MiB"], [2 ** 10, " KiB"]];
  const COUNTS = [[1e9, "G"], [1e6, "M"], [1e3, "k"]];
  function whole(value) {
    const up = Math.round(value);
    return String(Math.abs(value % 1) === 0.5 && up % 2 !== 0 ? up - 1 : up);
  }
  function format(unit, value) {
    if (value === null || value === undefined) return "";
    if (unit === "B") return scaled(value, BYTES) ?? `${whole(value)} B`;
    if (unit === "count") return scaled(value, COUNTS) ?? whole(value);
    if (unit === "ms" || unit === "mJ") return `${significant(value, 3)} ${unit}`;
    return significant(value, 4) + (unit ? ` ${unit}` : "");
  }
  // As _content.format_metric.
  const metric = (value) => value === null || value === undefined ? "" : Math.abs(value) >= 100 ? significant(value, 6) : value !== 0 && Math.abs(value) < 0.01 ? significant(value, 4) : value.toFixed(4);
  const duration = (s) => s < 60 ? `${significant(s, 3)} s` : s < 3600 ? `${significant(s / 60, 3)} min` : `${significant(s / 3600, 3)} h`;

  // --- the networks shown: trials of the search (T) and finalists (F)

  const primaryIndex = data.metrics.findIndex(([name]) => name === data.primary);
  const better = (a, b) => data.direction === "max" ? a > b : a < b;
  const unitOf = (name) => (data.costs.find((cost) => cost[0] === name) || [])[2];
  const labelOf = (name) => ([...data.costs, ...data.metrics].find((known) => known[0] === name) || [name, name])[1];
  const titled = (text) => text.charAt(0).toUpperCase() + text.slice(1);

  function architecture(row) {
    return new Map(row.a.map(([key, option]) => [data.keys[key], data.options[key][option]]));
  }
  for (const row of [...data.trials, ...data.finals]) row.id = row.a.map((pair) => pair.join(":")).sort().join(",");
  const identity = (row) => row.id;
  const entries = new Map();
  for (const row of data.trials) entries.set(`T${row.n}`, { key: `T${row.n}`, row, final: false, label: `trial ${row.n}` });
  for (const row of data.finals) entries.set(row.key, { key: row.key, row, final: true, label: `finalist ${row.n}` });
  const baseline = data.trials.length ? architecture(data.trials[0]) : new Map();
  const baselineIdentity = data.trials.length ? identity(data.trials[0]) : "";
  // Of several trials of the baseline the one trained longest stands for it.
  const baselineTrial = data.trials.filter((row) => row.id === baselineIdentity && row.s === STATE.complete).sort((a, b) => b.f - a.f)[0];
  const finalOf = new Map(data.finals.map((row) => [identity(row), row.key]));
  const shown = (value) => typeof value === "string" ? value : JSON.stringify(value);

  // Where a row keeps a figure: metrics, then (finalists only) the same on the test part, and costs.
  const places = new Map();
  data.metrics.forEach(([name], i) => {
    places.set(name, ["m", i]);
    places.set(`test.${name}`, ["m", data.metrics.length + i]);
  });
  data.costs.forEach(([name], i) => places.set(name, ["c", i]));
  function value(row, name) {
    const place = places.get(name);
    return place ? row[place[0]][place[1]] ?? null : null;
  }
  const broken = (row) => Object.entries(data.limits).filter(([name, bound]) => value(row, name) > bound).map(([name]) => name);

  // --- tooltip

  const tip = byId("tip");
  function showTip(event, content) {
    tip.replaceChildren(...content);
    tip.hidden = false;
    const box = tip.getBoundingClientRect();
    const x = event.clientX + 16 + box.width > innerWidth ? Math.max(8, event.clientX - box.width - 14) : event.clientX + 16;
    const y = event.clientY + 14 + box.height > innerHeight ? Math.max(8, innerHeight - box.height - 8) : event.clientY + 14;
    tip.style.left = `${x}px`;
    tip.style.top = `${y}px`;
  }
  const hideTip = () => { tip.hidden = true; };
  addEventListener("scroll", hideTip, { passive: true });

  function describe(entry) {
    const { row } = entry;
    const origin = entry.final && row.origin !== null ? `, search trial ${row.origin}` : "";
    const role = row.role ? ` (${row.role})` : "";
    const title = html("b", {}, `${titled(entry.label)}${role}`);
    const pairs = html("div", { class: "pairs" });
    const add = (name, text) => pairs.append(html("span", {}, name), html("span", {}, text));
    add("state", (entry.final ? "retrained" : data.states[row.s]) + `, ${data.fidelities[row.f]}${origin}`);
    data.metrics.forEach(([name, label], i) => {
      if (entry.final && row.m[data.metrics.length + i] !== null) add(`test ${label}`, metric(row.m[data.metrics.length + i]));
      if (row.m[i] !== null) add(`validation ${label}`, metric(row.m[i]));
    });
    data.costs.forEach(([name, label, unit], i) => { if (row.c[i] !== null) add(label, format(unit, row.c[i])); });
    if (row.x) add("why", row.x.slice(0, 160));
    const all = [...architecture(row)];
    const differs = ([key, option]) => !baseline.has(key) || shown(baseline.get(key)) !== shown(option);
    const changed = all.filter(differs);
    const listed = changed.length ? changed : all;
    const most = listed.slice(0, 10);
    const text = most.map(([key, option]) => `${key} ${shown(option)}`).join(", ") + (listed.length > 10 ? `, and ${listed.length - 10} more` : "");
    const same = identity(row) === baselineIdentity;
    const heading = same ? "The baseline: " : `${changed.length} of ${all.length} choices differ from the baseline: `;
    return [title, pairs, html("div", { class: "choices" }, html("span", { class: "muted" }, heading), text)];
  }

  // --- charts

  function niceStep(span, count) {
    const raw = span / Math.max(1, count);
    const power = 10 ** Math.floor(Math.log10(raw));
    return [1, 2, 2.5, 5, 10].map((factor) => factor * power).find((step) => step >= raw * 0.999);
  }
  function ticks(axis, count) {
    const [low, high] = axis.domain;
    // Bytes read best at round multiples of the unit they are shown in.
    const unit = axis.unit === "B" ? (BYTES.find(([size]) => high >= size) || [1])[0] : 1;
    const found = [];
    if (axis.log) {
      const base = axis.unit === "B" ? 2 : 10;
      for (const factors of base === 2 ? [[1]] : [[1, 2, 5], [1, 3], [1]]) {
        found.length = 0;
        const first = Math.floor(Math.log(low) / Math.log(base)) - 1;
        for (let power = first; base ** power <= high; power += 1)
          for (const factor of factors) if (factor * base ** power >= low && factor * base ** power <= high) found.push(factor * base ** power);
        if (found.length <= count + 2) break;
      }
      const every = Math.ceil(found.length / (count + 2));
      return found.filter((_, i) => i % every === 0);
    }
    const step = niceStep((high - low) / unit, count) * unit;
    for (let k = Math.ceil(low / step - 1e-9); k * step <= high + 1e-9 * step; k += 1) found.push(Number((k * step).toPrecision(12)));
    return found;
  }
  const tickText = (axis, tick, step) => {
    if (axis.text) return axis.text(tick);
    if (axis.unit || axis.log) return format(axis.unit, tick);
    const digits = Math.max(0, Math.min(8, -Math.floor(Math.log10(step || 1) + 1e-9)));
    return Math.abs(tick) >= 1e5 ? significant(tick, 3) : tick.toFixed(Number((step || 1).toPrecision(2)).toString().endsWith("25") ? digits + 1 : digits);
  };
  function domain(values, log, pad = 0.06) {
    const finite = values.filter((v) => v !== null && Number.isFinite(v) && (!log || v > 0));
    if (!finite.length) return log ? [1, 10] : [0, 1];
    let low = Infinity, high = -Infinity;
    for (const v of finite) { if (v < low) low = v; if (v > high) high = v; }
    if (log) {
      if (low === high) return [low / 2, high * 2];
      const margin = (high / low) ** pad;
      return [low / margin, high * margin];
    }
    if (low === high) { const room = Math.abs(low) * 0.1 || 0.5; return [low - room, high + room]; }
    return [low - (high - low) * pad, high + (high - low) * pad];
  }
  const SHAPES = {
    circle: (x, y, r) => `M${x - r} ${y}a${r} ${r} 0 1 0 ${2 * r} 0a${r} ${r} 0 1 0 ${-2 * r} 0z`,
    diamond: (x, y, r) => `M${x} ${y - r}L${x + r} ${y}L${x} ${y + r}L${x - r} ${y}z`,
    square: (x, y, r) => `M${x - r} ${y - r}h${2 * r}v${2 * r}h${-2 * r}z`,
    star: (x, y, r) => "M" + Array.from({ length: 10 }, (_, i) => {
      const radius = i % 2 ? r * 0.45 : r;
      const angle = Math.PI * (i / 5 - 0.5);
      return `${(x + radius * Math.cos(angle)).toFixed(1)} ${(y + radius * Math.sin(angle)).toFixed(1)}`;
    }).join("L") + "z",
    cross: (x, y, r) => `M${x - r} ${y - r}l${2 * r} ${2 * r}M${x - r} ${y + r}l${2 * r} ${-2 * r}`,
    bar: (x, y, r) => `M${x} ${y - r}v${2 * r}`,
    plus: (x, y, r) => `M${x - r} ${y}h${2 * r}M${x} ${y - r}v${2 * r}`,
  };

  // Draws into `holder` what `make()` returns: {x, y: {label, unit, log, domain, text}, lines, points, rules, empty, lane, zoom}.
  // Every chart is drawn again when its width changes; the point of the selected network has a ring.
  function chart(holder, make) {
    let zoom = null, width = 0, mark = () => {};
    function draw() {
      width = holder.clientWidth;
      const height = holder.clientHeight;
      if (!width || !height) return;
      const plan = make();
      holder.replaceChildren();
      if (plan.empty) { holder.append(html("p", { class: "muted" }, plan.empty)); return; }
      const root = svg("svg", { viewBox: `0 0 ${width} ${height}` }, holder);
      const x = { ...plan.x }, y = { ...plan.y };
      if (zoom) { x.domain = zoom.x; y.domain = zoom.y; }
      const lane = plan.lane ? 22 : 0;
      const frame = { top: 24, bottom: height - 40 - lane, right: width - 14 };
      const yTicks = ticks(y, (frame.bottom - frame.top) / 40);
      const yTexts = yTicks.map((tick) => tickText(y, tick, yTicks[1] - yTicks[0]));
      frame.left = 16 + 7 * Math.max(...yTexts.map((text) => text.length), 3);
      const scale = (axis, from, to) => {
        const [low, high] = axis.log ? axis.domain.map(Math.log) : axis.domain;
        return (v) => from + ((axis.log ? Math.log(v) : v) - low) / (high - low) * (to - from);
      };
      const unscale = (axis, from, to) => {
        const [low, high] = axis.log ? axis.domain.map(Math.log) : axis.domain;
        return (p) => { const v = low + (p - from) / (to - from) * (high - low); return axis.log ? Math.exp(v) : v; };
      };
      const px = scale(x, frame.left, frame.right), py = scale(y, frame.bottom, frame.top);
      yTicks.forEach((tick, i) => {
        svg("line", { class: "tick", x1: frame.left, x2: frame.right, y1: py(tick), y2: py(tick) }, root);
        svg("text", { x: frame.left - 6, y: py(tick) + 4, "text-anchor": "end" }, root, yTexts[i]);
      });
      const xTicks = ticks(x, (frame.right - frame.left) / 74);
      for (const tick of xTicks) {
        svg("line", { class: "tick", x1: px(tick), x2: px(tick), y1: frame.top, y2: frame.bottom + lane }, root);
        svg("text", { x: px(tick), y: frame.bottom + lane + 16, "text-anchor": "middle" }, root, tickText(x, tick, xTicks[1] - xTicks[0]));
      }
      svg("line", { class: "axis", x1: frame.left, x2: frame.right, y1: frame.bottom, y2: frame.bottom }, root);
      if (lane) {
        svg("line", { class: "axis", x1: frame.left, x2: frame.right, y1: frame.bottom + lane, y2: frame.bottom + lane }, root);
      }
      svg("text", { class: "label", x: frame.right, y: frame.bottom + lane + 33, "text-anchor": "end" }, root, `${titled(x.label)}${x.log ? ", log scale" : ""} →`);
      svg("text", { class: "label", x: 0, y: 12 }, root, `↑ ${titled(y.label)}${y.log ? ", log scale" : ""}`);
      const clip = `clip-${holder.id || Math.random().toString(36).slice(2)}`;
      svg("rect", { x: frame.left, y: frame.top - 8, width: Math.max(0, frame.right - frame.left + 8), height: frame.bottom - frame.top + lane + 10 }, svg("clipPath", { id: clip }, root));
      const plot = svg("g", { "clip-path": `url(#${clip})` }, root);
      for (const rule of plan.rules || []) {
        if (rule.x !== undefined) {
          const at = px(rule.x);
          if (at < frame.left) continue;
          if (at > frame.right) {
            svg("text", { class: "limit", x: frame.right, y: frame.top + 4, "text-anchor": "end" }, plot, `${rule.text} →`);
            continue;
          }
          svg("rect", { class: "beyond", x: at, y: frame.top, width: Math.max(0, frame.right - at), height: frame.bottom - frame.top + lane }, plot);
          svg("line", { class: "limit", x1: at, x2: at, y1: frame.top - 6, y2: frame.bottom + lane }, plot);
          const end = at > (frame.left + frame.right) / 2;
          svg("text", { class: "limit", x: at + (end ? -5 : 5), y: frame.top + 4, "text-anchor": end ? "end" : "start" }, plot, rule.text);
        } else {
          svg("path", { class: "axis line", "stroke-dasharray": "3 3", d: `M${px(rule.from[0])} ${py(rule.from[1])}L${px(rule.to[0])} ${py(rule.to[1])}` }, plot);
        }
      }
      for (const line of plan.lines || []) {
        let d = "", pen = false;
        line.x.forEach((v, i) => {
          const w = line.y[i];
          if (w === null || (x.log && v <= 0) || (y.log && w <= 0)) { pen = false; return; }
          const point = `${px(v).toFixed(1)} ${py(w).toFixed(1)}`;
          d += pen ? (line.step ? `H${px(v).toFixed(1)}V${py(w).toFixed(1)}` : `L${point}`) : `M${point}`;
          pen = true;
        });
        svg("path", { class: "line", d, stroke: line.color, "stroke-width": line.width, opacity: line.opacity, "stroke-dasharray": line.dash }, plot);
      }
      const hits = [];
      for (const point of plan.points || []) {
        if (point.x === null || point.x === undefined || (x.log && point.x <= 0)) continue;
        const cx = px(point.x);
        const cy = point.lane ? frame.bottom + lane / 2 : py(point.y);
        if (cx < frame.left - 9 || cx > frame.right + 9 || (!point.lane && (cy < frame.top - 9 || cy > frame.bottom + 9))) continue;
        if (point.stem !== undefined && point.stem !== null) svg("line", { class: `stem ${point.kind}`, x1: px(point.stemX ?? point.x), x2: cx, y1: py(point.stem), y2: cy }, plot);
        if (point.error) svg("line", { class: `stem ${point.kind}`, x1: px(point.x * (1 - point.error)), x2: px(point.x * (1 + point.error)), y1: cy, y2: cy }, plot);
        svg("path", { class: `mark ${point.kind}`, d: SHAPES[point.shape](Number(cx.toFixed(1)), Number(cy.toFixed(1)), point.size), "data-key": point.key }, plot);
        hits.push({ cx, cy, point });
      }
      mark = () => {
        for (const halo of plot.querySelectorAll(".halo")) halo.remove();
        for (const { cx, cy, point } of hits) if (point.key === selected) svg("circle", { class: "halo", cx, cy, r: point.size + 5 }, plot);
      };
      mark();
      const at = (event) => {
        const box = root.getBoundingClientRect();
        return [event.clientX - box.left, event.clientY - box.top];
      };
      const nearest = (event) => {
        const [mx, my] = at(event);
        let best = null, distance = 26 ** 2;
        for (const hit of hits) {
          const d = (hit.cx - mx) ** 2 + (hit.cy - my) ** 2 - (hit.point.weight || 0);
          if (d < distance) { distance = d; best = hit.point; }
        }
        return best;
      };
      let start = null, rectangle = null;
      root.addEventListener("pointermove", (event) => {
        if (start && plan.zoom) {
          const [mx, my] = at(event);
          if (!rectangle && Math.abs(mx - start[0]) + Math.abs(my - start[1]) > 8) rectangle = svg("rect", { class: "zoom" }, root);
          if (rectangle) {
            rectangle.setAttribute("x", Math.min(mx, start[0]));
            rectangle.setAttribute("y", Math.min(my, start[1]));
            rectangle.setAttribute("width", Math.abs(mx - start[0]));
            rectangle.setAttribute("height", Math.abs(my - start[1]));
            hideTip();
            return;
          }
        }
        const [mx, my] = at(event);
        const content = plan.hover ? plan.hover(unscale(x, frame.left, frame.right)(mx), unscale(y, frame.bottom, frame.top)(my)) : null;
        const point = nearest(event);
        if (point && point.tip) showTip(event, point.tip());
        else if (content) showTip(event, content);
        else hideTip();
        root.style.cursor = point && point.key ? "pointer" : plan.zoom ? "crosshair" : "default";
      });
      root.addEventListener("pointerleave", () => { hideTip(); });
      root.addEventListener("pointerdown", (event) => { if (event.pointerType === "mouse" && event.button === 0) start = at(event); });
      root.addEventListener("pointerup", (event) => {
        const from = start;
        start = null;
        if (rectangle && from) {
          const [mx, my] = at(event);
          const ux = unscale(x, frame.left, frame.right), uy = unscale(y, frame.bottom, frame.top);
          rectangle.remove();
          rectangle = null;
          if (Math.abs(mx - from[0]) > 12 && Math.abs(my - from[1]) > 12) {
            zoom = { x: [ux(Math.min(mx, from[0])), ux(Math.max(mx, from[0]))], y: [uy(Math.max(my, from[1])), uy(Math.min(my, from[1]))] };
            draw();
          }
          return;
        }
        const point = nearest(event);
        if (point && point.key) select(point.key);
      });
      root.addEventListener("dblclick", () => { zoom = null; draw(); });
    }
    new ResizeObserver(() => { if (holder.clientWidth !== width) draw(); }).observe(holder);
    return { draw, mark: () => mark(), reset: () => { zoom = null; draw(); } };
  }

  // --- state of the page

  let selected = data.selected;
  const drawn = [], followers = [];
  const finalKey = (key) => {
    const entry = entries.get(key);
    return !entry ? null : entry.final ? key : finalOf.get(identity(entry.row)) || null;
  };

  // --- trade-off

  const axisX = byId("axis-x"), axisY = byId("axis-y"), allBox = byId("all");
  for (const [name, label] of data.costs) axisX.append(html("option", { value: name }, label));
  if (data.objective) axisX.value = data.objective;
  for (const [name, label] of data.metrics) axisY.append(html("option", { value: name }, `validation ${label}`));
  if (data.finals.length) for (const [name, label] of data.metrics) axisY.append(html("option", { value: `test.${name}` }, `test ${label} (finalists)`));

  const kindOf = (entry) => entry.row.role.includes("chosen") ? "chosen" : entry.row.role.includes("baseline") ? "baseline" : "final";
  const SHAPE = { chosen: ["star", 10], baseline: ["square", 5.5], final: ["diamond", 7], front: ["circle", 4.2], trial: ["circle", 3] };

  // The best scores by cost among complete trials within the limits, at the highest fidelity that was reached.
  // Only for the primary metric: of others the page does not know which end is good.
  function searchFront(nameX, nameY) {
    if (nameY !== data.primary) return [];
    const done = data.trials.filter((row) => row.s === STATE.complete && value(row, nameX) !== null && value(row, nameY) !== null && !broken(row).length);
    const top = Math.max(...done.map((row) => row.f));
    const ordered = done.filter((row) => row.f === top).sort((a, b) => value(a, nameX) - value(b, nameX));
    const front = [];
    for (const row of ordered) {
      const last = front[front.length - 1];
      if (!last || better(value(row, nameY), value(last, nameY))) {
        if (last && value(last, nameX) === value(row, nameX)) front.pop();
        front.push(row);
      }
    }
    return front;
  }

  const LEGEND = { trial: "trial, smaller at lower fidelity", front: "front of the search", final: "retrained", chosen: "chosen", baseline: "baseline", infeasible: "over a limit, not trained", failed: "failed" };
  function drawLegend(holder, kinds) {
    const shapes = { ...SHAPE, infeasible: ["bar", 5], failed: ["cross", 4] };
    holder.replaceChildren(...Object.keys(LEGEND).filter((kind) => kinds.has(kind)).map((kind) => {
      const icon = svg("svg", { viewBox: "0 0 14 14" });
      svg("path", { class: `mark ${kind}`, d: SHAPES[shapes[kind][0]](7, 7, Math.min(6, shapes[kind][1])) }, icon);
      return html("span", {}, icon, LEGEND[kind]);
    }));
  }

  const tradeOff = chart(byId("front"), () => {
    const nameX = axisX.value, nameY = axisY.value;
    if (!data.trials.length) return { empty: "No trial was recorded." };
    if (!nameX || !nameY) return { empty: "No trial has both a cost and a score." };
    const unit = unitOf(nameX);
    const searched = data.trials.filter((row) => value(row, nameX) !== null);
    const tested = nameY.startsWith("test.");
    const front = tested ? [] : searchFront(nameX, nameY);
    const onFront = new Set(front.map((row) => row.n));
    const kinds = new Set();
    const points = [];
    for (const row of searched) {
      const entry = entries.get(`T${row.n}`);
      const complete = row.s === STATE.complete && value(row, nameY) !== null;
      if (tested && row.s === STATE.complete) continue;
      const lane = !complete;
      if (lane && row.s === STATE.running) continue;
      const isBaseline = row === baselineTrial;
      const kind = lane ? (row.s === STATE.failed ? "failed" : "infeasible") : onFront.has(row.n) ? "front" : isBaseline && !data.finals.length ? "baseline" : "trial";
      if (row.s === STATE.complete && lane) continue;
      kinds.add(kind);
      const [shape, size] = lane ? (kind === "failed" ? ["cross", 4] : ["bar", 5]) : SHAPE[kind];
      const share = data.fidelities.length > 1 ? (row.f + 1) / data.fidelities.length : 1;
      points.push({ key: entry.key, x: value(row, nameX), y: complete ? value(row, nameY) : null, lane, kind, shape, size: kind === "trial" ? 1.6 + 1.8 * share : size,
        weight: onFront.has(row.n) ? 30 : 0, tip: () => describe(entry) });
    }
    points.sort((a, b) => (a.kind === "front") - (b.kind === "front"));
    for (const row of data.finals) {
      const entry = entries.get(row.key);
      const kind = kindOf(entry);
      if (value(row, nameX) === null || value(row, nameY) === null) continue;
      kinds.add(kind);
      const origin = row.origin === null ? null : entries.get(`T${row.origin}`).row;
      points.push({ key: row.key, x: value(row, nameX), y: value(row, nameY), kind, shape: SHAPE[kind][0], size: SHAPE[kind][1], weight: 60,
        error: row.errors[data.costs.findIndex((cost) => cost[0] === nameX)], stem: origin && !tested ? value(origin, nameY) : null,
        stemX: origin && value(origin, nameX) !== null ? value(origin, nameX) : undefined, tip: () => describe(entry) });
    }
    // Finalists last, the chosen on top of all.
    points.sort((a, b) => (a.kind === "chosen") - (b.kind === "chosen"));
    drawLegend(byId("legend"), kinds);
    const xs = points.map((point) => point.x);
    const wide = (values) => {
      const positive = values.filter((v) => v > 0);
      return positive.length > 1 && Math.max(...positive) / Math.min(...positive) > 8;
    };
    let log = wide(xs);
    const scored = points.filter((point) => !point.lane);
    const ys = scored.map((point) => point.y);
    let yDomain = domain(ys, false);
    let xDomain = domain(xs, log, 0.04);
    const limit = data.limits[nameX];
    if (!allBox.checked && ys.length > 12 && nameY === data.primary) {
      // Most trials of a search are poor or short: begin where the better half is, never hiding front, finalists or baseline.
      const sorted = [...ys].sort((a, b) => a - b);
      const worstUp = data.direction === "min";
      const cut = sorted[Math.floor(sorted.length * (worstUp ? 0.6 : 0.4))];
      const kept = scored.filter((point) => point.kind !== "trial" || (worstUp ? point.y <= cut : point.y >= cut)).map((point) => point.y);
      yDomain = domain(kept, false);
      const near = points.filter((point) => !point.lane).map((point) => point.x);
      log = wide(near);
      xDomain = domain(near, log, 0.04);
    }
    // A limit just beyond is brought into view; one far beyond would squeeze everything else.
    const [low, high] = xDomain;
    if (limit > high && (log ? Math.log(limit / low) < 1.5 * Math.log(high / low) : limit - low < 1.5 * (high - low)))
      xDomain = domain([low, high, limit], log, 0.03);
    const byX = [...front].map((row) => [value(row, nameX), value(row, nameY)]);
    const lines = byX.length > 1 ? [{ x: byX.map((p) => p[0]), y: byX.map((p) => p[1]), step: true, color: "var(--blue)", width: 1.4, opacity: 0.8 }] : [];
    return {
      x: { label: labelOf(nameX), unit, log, domain: xDomain },
      y: { label: tested ? `test ${labelOf(nameY.slice(5))}` : `validation ${labelOf(nameY)}`, domain: yDomain },
      rules: limit ? [{ x: limit, text: `limit ${format(unit, limit)}` }] : [],
      lines, points, lane: points.some((point) => point.lane), zoom: true,
      empty: points.length ? undefined : "No trial has these figures.",
    };
  });
  for (const control of [axisX, axisY, allBox]) control.addEventListener("change", () => tradeOff.reset());
  drawn.push(tradeOff);

  // --- detail of the selected

  function drawDetail(entry) {
    const holder = byId("detail");
    if (!entry) { holder.replaceChildren(html("p", { class: "muted" }, "Nothing to show yet.")); return; }
    const { row } = entry;
    const title = html("h3", {}, titled(entry.label));
    if (row.role) title.append(" ", html("span", { class: `tag ${row.role.includes("chosen") ? "chosen" : "baseline"}` }, row.role));
    else if (identity(row) === baselineIdentity) title.append(" ", html("span", { class: "tag baseline" }, "baseline"));
    const state = entry.final ? `Retrained from scratch, ${data.fidelities[row.f]}` : `${titled(data.states[row.s])}, ${data.fidelities[row.f]}`;
    const from = entry.final ? (row.origin === null ? "" : `; found as trial ${row.origin}`) : row.k !== undefined ? `; continues trial ${row.k}` : "";
    const parts = [title, html("p", { class: "muted" }, `${state}${from}; ${duration(row.u)} of processor time`)];
    const other = finalOf.get(identity(row));
    if (!entry.final && other) {
      const link = html("button", { type: "button" }, `Retrained as ${entries.get(other).label}`);
      link.addEventListener("click", () => select(other));
      parts.push(link);
    }
    if (row.x) parts.push(html("p", { class: "bad" }, row.x));
    const table = html("table", {});
    const add = (name, text, note, over) => {
      const cell = html("td", { class: over ? "num bad" : "num strong" }, text);
      if (note) cell.append(html("small", {}, note));
      table.append(html("tr", {}, html("th", { scope: "row" }, name), cell));
    };
    data.metrics.forEach(([name, label], i) => {
      if (entry.final && row.m[data.metrics.length + i] !== null) add(`test ${label}`, metric(row.m[data.metrics.length + i]));
      if (row.m[i] !== null) add(entry.final ? `validation ${label}` : label, metric(row.m[i]));
    });
    const over = new Set(broken(row));
    data.costs.forEach(([name, label, unit], i) => {
      if (row.c[i] === null) return;
      const bound = data.limits[name];
      const text = bound === undefined ? "" : over.has(name) ? `over the limit of ${format(unit, bound)}; ` : `limit ${format(unit, bound)}; `;
      add(label, format(unit, row.c[i]), text + data.certainties[row.e[i]], over.has(name));
    });
    if (!entry.final && row.m.some((score) => score !== null)) parts.push(html("p", { class: "muted" }, "Scores are on the validation part."));
    parts.push(table);
    holder.replaceChildren(...parts);
  }

  // Groups choices by the parts of their keys: blocks.0.kernel stands under blocks, 0.
  function choiceTree(entry) {
    const mine = architecture(entry.row);
    const isBaseline = identity(entry.row) === baselineIdentity;
    const root = { children: new Map(), leaves: [] };
    const place = (key, leaf) => {
      const parts = key.split(".");
      let node = root;
      for (const part of parts.slice(0, -1)) {
        if (!node.children.has(part)) node.children.set(part, { children: new Map(), leaves: [] });
        node = node.children.get(part);
      }
      node.leaves.push([parts[parts.length - 1], leaf]);
    };
    for (const [key, option] of mine) place(key, { option, was: baseline.get(key), changed: !isBaseline && shown(baseline.get(key) ?? null) !== shown(option), known: baseline.has(key) });
    for (const [key, option] of baseline) if (!mine.has(key)) place(key, { option, gone: true });
    const chip = ([name, leaf]) => {
      const tag = leaf.gone ? "chip gone" : leaf.changed ? "chip changed" : "chip";
      const title = leaf.gone ? "only the baseline has this choice" : leaf.changed ? (leaf.known ? `baseline: ${shown(leaf.was)}` : "the baseline does not have this choice") : "as in the baseline";
      return html("span", { class: tag, title }, html("i", {}, `${name} `), shown(leaf.option));
    };
    const list = (node) => {
      const ul = html("ul", {});
      // A choice that opens further ones (block 0 is an mbconv: kernel ...) heads them.
      const heads = new Map(node.leaves.filter(([name]) => node.children.has(name)));
      const alone = node.leaves.filter(([name]) => !heads.has(name));
      if (alone.length) ul.append(html("li", {}, ...alone.map(chip)));
      for (let [name, child] of node.children) {
        const head = heads.has(name) ? chip([name, heads.get(name)]) : null;
        while (!head && child.children.size === 1 && !child.leaves.length) {
          const [[next, below]] = child.children;
          name = `${name}.${next}`;
          child = below;
        }
        const item = html("li", {}, head || html("span", { class: "name" }, `${name} `));
        const heading = child.leaves.filter(([inner]) => child.children.has(inner));
        item.append(...child.leaves.filter(([inner]) => !child.children.has(inner)).map(chip));
        if (child.children.size) item.append(list({ children: child.children, leaves: heading }));
        // Small groups stay in one column; large ones may continue in the next.
        if (item.querySelectorAll(".chip").length <= 16) item.style.breakInside = "avoid";
        ul.append(item);
      }
      return ul;
    };
    const changed = [...mine].filter(([key, option]) => shown(baseline.get(key) ?? null) !== shown(option)).length;
    const words = isBaseline ? `The hand-designed baseline: ${mine.size} choices.` : `${mine.size} choices, ${changed} unlike the baseline's (marked; point at one to compare).`;
    return [html("p", { class: "muted" }, words), html("div", { class: "tree card" }, list(root))];
  }

  // --- learning curves

  const PALETTE = ["--s0", "--s1", "--s2", "--s3", "--s4", "--s5", "--s6", "--s7"].map((name) => `var(${name})`);
  const curveKeys = Object.keys(data.curves).filter((key) => Object.keys(data.curves[key]).length);
  const colorOf = (key) => PALETTE[curveKeys.indexOf(key) % PALETTE.length];
  const seriesNames = [...new Set(curveKeys.flatMap((key) => Object.keys(data.curves[key])))];
  const numLosses = seriesNames.filter((name) => name.startsWith("loss.")).length;
  const panels = new Map();
  for (const name of seriesNames) {
    const [part, ...rest] = name.split(".");
    const title = part === "validation" || part === "train" ? rest.join(".") : part === "loss" ? (numLosses > 1 ? `loss of ${rest.join(".")}` : "training loss") : name;
    if (!panels.has(title)) panels.set(title, []);
    panels.get(title).push(name);
  }
  const rank = (title) => title === data.primary ? 0 : title.includes("loss") ? 1 : title === "learning_rate" ? 3 : 2;
  const curveHolder = byId("curves");
  if (!curveKeys.length) curveHolder.append(html("p", { class: "muted" }, "No series were recorded."));
  const shownCurve = () => curveKeys.includes(selected) ? selected : curveKeys.includes(finalKey(selected)) ? finalKey(selected) : curveKeys.includes(data.selected) ? data.selected : curveKeys[0];
  for (const title of [...panels.keys()].sort((a, b) => rank(a) - rank(b) || (a < b ? -1 : 1))) {
    const names = panels.get(title).sort().reverse();
    const holder = html("div", { class: "chart", role: "img", "aria-label": title });
    curveHolder.append(html("div", { class: "card" }, holder));
    const panel = chart(holder, () => {
      const strong = shownCurve();
      const lines = [];
      for (const key of [...curveKeys].sort((a, b) => (a === strong) - (b === strong)))
        for (const name of names) {
          const series = data.curves[key][name];
          if (series) lines.push({ key, name, x: series[0], y: series[1], color: colorOf(key), width: key === strong ? 2.4 : 1.2, opacity: key === strong ? 1 : 0.45, dash: name.startsWith("train.") ? "5 3" : undefined });
        }
      const ys = lines.flatMap((line) => line.y);
      const positive = ys.filter((v) => v !== null && v > 0);
      const log = title.includes("loss") && positive.length > 1 && Math.max(...positive) / Math.min(...positive) > 20;
      const both = names.some((name) => name.startsWith("train.")) && names.some((name) => name.startsWith("validation."));
      const part = both ? " (validation; dashed: training)" : names[0].startsWith("validation.") ? " (validation)" : "";
      return {
        x: { label: "optimiser steps", domain: domain(lines.flatMap((line) => line.x), false, 0.02) },
        y: { label: title.replaceAll("_", " ") + part, log, domain: domain(ys, log) },
        lines, points: lines.flatMap((line) => line.x.length === 1 ? [{ x: line.x[0], y: line.y[0], kind: "trial", shape: "circle", size: 3 }] : []),
        hover: (at) => {
          const rows = lines.map((line) => {
            let best = 0;
            line.x.forEach((v, i) => { if (Math.abs(v - at) < Math.abs(line.x[best] - at)) best = i; });
            return [line, best];
          }).filter(([line, i]) => line.y[i] !== null);
          if (!rows.length) return null;
          const pairs = html("div", { class: "pairs" });
          for (const [line, i] of rows.reverse().slice(0, 12)) {
            const name = html("span", {}, `${entries.get(line.key).label}${line.name.startsWith("train.") ? ", training" : ""}`);
            name.style.color = line.color;
            pairs.append(name, html("span", {}, `${significant(line.y[i], 4)} at ${line.x[i]}`));
          }
          return [html("b", {}, title.replaceAll("_", " ")), pairs];
        },
      };
    });
    drawn.push(panel);
    followers.push(panel);
  }

  // --- trust

  function scatter(id, nameA, nameB, labelA, labelB) {
    if (!byId(id)) return;
    drawn.push(chart(byId(id), () => {
      const points = [];
      for (const row of data.finals) {
        const entry = entries.get(row.key), kind = kindOf(entry);
        const a = nameA(row), b = nameB(row);
        if (a === null || b === null || a === undefined) continue;
        points.push({ key: row.key, x: a, y: b, kind, shape: SHAPE[kind][0], size: SHAPE[kind][1], tip: () => describe(entry) });
      }
      if (!points.length) return { empty: "No network has both scores." };
      const bounds = domain(points.flatMap((point) => [point.x, point.y]), false, 0.12);
      return {
        x: { label: `${labelA} ${labelOf(data.primary)}`, domain: bounds }, y: { label: `${labelB} ${labelOf(data.primary)}`, domain: bounds },
        points, rules: [{ from: [bounds[0], bounds[0]], to: [bounds[1], bounds[1]] }],
      };
    }));
  }
  scatter("agree-search", (row) => row.origin === null ? null : value(entries.get(`T${row.origin}`).row, data.primary), (row) => value(row, data.primary), "search, validation", "retrained, validation");
  scatter("agree-test", (row) => value(row, data.primary), (row) => value(row, `test.${data.primary}`), "validation", "test");

  // --- progress

  const progressX = byId("progress-x");
  const progress = chart(byId("progress"), () => {
    const byCpu = progressX.value === "cpu";
    let cpu = 0;
    const points = [], best = { x: [], y: [] };
    for (const row of data.trials) {
      cpu += row.u;
      const x = byCpu ? cpu : row.n;
      const score = row.m[primaryIndex];
      if (row.s !== STATE.complete || score === undefined || score === null) continue;
      const over = broken(row).length > 0;
      points.push({ key: `T${row.n}`, x, y: score, kind: over ? "infeasible" : "trial", shape: over ? "cross" : "circle", size: 1.8 + 1.8 * (row.f + 1) / data.fidelities.length,
        tip: () => describe(entries.get(`T${row.n}`)) });
      if (over) continue;
      const last = best.y[best.y.length - 1];
      best.x.push(x);
      best.y.push(last === undefined || better(score, last) ? score : last);
    }
    if (!points.length) return { empty: "No trial is complete." };
    const end = byCpu ? cpu : data.trials[data.trials.length - 1].n;
    if (best.x.length) { best.x.push(end); best.y.push(best.y[best.y.length - 1]); }
    return {
      x: { label: byCpu ? "processor time of all workers together" : "trial", domain: domain([0, end], false, 0.02), text: byCpu ? duration : undefined },
      y: { label: `validation ${labelOf(data.primary)}`, domain: domain(points.map((point) => point.y), false) },
      points, lines: [{ ...best, step: true, color: "var(--blue)", width: 2 }], zoom: true,
    };
  });
  progressX.addEventListener("change", () => progress.reset());
  drawn.push(progress);
  byId("progress-legend").append(html("span", {}, `The line is the best within the limits so far${data.fidelities.length > 1 ? "; smaller points had a lower fidelity" : ""}; crosses were over a limit.`));

  // --- lines among the pictures

  for (const lines of data.lines) {
    const holder = document.querySelector(`[data-lines="${lines.id}"]`);
    drawn.push(chart(holder, () => ({
      x: { label: lines.x, domain: domain(lines.series.flatMap((s) => s.x), false, 0.02) }, y: { label: lines.y, domain: domain(lines.series.flatMap((s) => s.y), false) },
      lines: lines.series.map((s, i) => ({ ...s, color: PALETTE[i % PALETTE.length] })),
      hover: (at) => {
        const pairs = html("div", { class: "pairs" });
        lines.series.forEach((s, k) => {
          let best = 0;
          s.x.forEach((v, i) => { if (Math.abs(v - at) < Math.abs(s.x[best] - at)) best = i; });
          const name = html("span", {}, s.name);
          name.style.color = PALETTE[k % PALETTE.length];
          pairs.append(name, html("span", {}, format("", s.y[best])));
        });
        return [pairs];
      },
    })));
  }

  // --- selection

  const pick = byId("pick");
  const group = (title, rows) => {
    const holder = html("optgroup", { label: title });
    for (const entry of rows) {
      const score = entry.row.m[primaryIndex];
      const word = entry.row.role || (score === null || score === undefined ? data.states[entry.row.s] : metric(score));
      holder.append(html("option", { value: entry.key }, `${titled(entry.label)} (${word})`));
    }
    if (rows.length) pick.append(holder);
  };
  group("Retrained", [...entries.values()].filter((entry) => entry.final));
  group("Trials of the search", [...entries.values()].filter((entry) => !entry.final));
  pick.addEventListener("change", () => select(pick.value));
  for (const row of document.querySelectorAll("[data-select]")) row.addEventListener("click", () => select(row.dataset.select));

  function select(key) {
    selected = key;
    const entry = entries.get(key);
    const final = finalKey(key);
    pick.value = key;
    drawDetail(entry);
    byId("choices").replaceChildren(...(entry ? choiceTree(entry) : []));
    for (const holder of document.querySelectorAll("[data-final]")) holder.hidden = holder.dataset.final !== (final || "none");
    for (const row of document.querySelectorAll("[data-select]")) row.classList.toggle("on", row.dataset.select === final);
    const which = !entry ? "" : entry.final || !final ? entry.label : `${entry.label}, retrained as ${entries.get(final).label}`;
    for (const holder of document.querySelectorAll(".which")) holder.textContent = which;
    for (const one of followers) one.draw();
    for (const one of drawn) one.mark();
  }
  select(selected);
  for (const one of drawn) one.draw();
})();
