// Draws the charts. The page is complete without: each chart has its table beside it.
'use strict';
(() => {
  const figures = JSON.parse(document.getElementById('figures').textContent);
  const colours = { positive: 'var(--good)', neutral: 'var(--calm)', question: 'var(--ask)', negative: 'var(--bad)' };
  const count = (value) => value.toLocaleString('en-US');
  const percent = (share) => `${(share * 100).toFixed(share === 0 || share >= 0.0995 ? 0 : 1)} %`;
  const signed = (score) => (score <= -0.005 ? '−' : '+') + Math.abs(score).toFixed(2);

  // Labels get the room they need in the page's own type, at most a part of the chart; what is longer is cut.
  const pen = document.createElement('canvas').getContext('2d');
  const wide = (label) => {
    pen.font = `13px ${getComputedStyle(document.body).fontFamily}`;
    return pen.measureText(label).width;
  };
  const room = (labels, width, part) => Math.min(width * part, 14 + Math.max(20, ...labels.map(wide)));
  const clusters = new Intl.Segmenter('th', { granularity: 'grapheme' });
  const fit = (label, most) => {
    if (wide(label) <= most) return label;
    const kept = [...clusters.segment(label)].map(({ segment }) => segment);
    while (kept.length > 1 && wide(`${kept.join('')}…`) > most) kept.pop();
    return `${kept.join('')}…`;
  };
  const names = (margin) => ({ label: null, tickSize: 0, tickFormat: (name) => fit(name, margin - 12) });

  // Bars of shares, with their intervals and their numbers at the end.
  function shares(rows, width, { intervals = true } = {}) {
    const margin = room(rows.map((row) => row.name), width, 0.5);
    const top = (row) => (intervals ? row.high : row.share);
    const inner = width - margin - 12;
    // Whatever stands behind a bar must find room there.
    const end = Math.max(0.01, ...rows.map((row) => top(row) / Math.max(0.25, 1 - (wide(row.note) + 12) / inner)));
    const ticks = d3.ticks(0, Math.min(1, end), Math.max(2, Math.floor(inner / 90)));
    return {
      width, marginLeft: margin, marginRight: 12, marginTop: 4, marginBottom: 30, height: rows.length * 34 + 34,
      x: { domain: [0, end], label: null, ticks, tickSize: 3, tickFormat: (tick) => `${+(tick * 100).toFixed(1)} %` },
      y: { domain: rows.map((row) => row.name), padding: 0.35, ...names(margin) },
      marks: [
        Plot.gridX({ stroke: 'var(--line)', strokeOpacity: 1, ticks }),
        Plot.barX(rows, { x: 'share', y: 'name', fill: (row) => row.fill ?? 'var(--accent)', rx2: 3 }),
        intervals ? Plot.ruleY(rows, { x1: 'low', x2: 'high', y: 'name', stroke: 'var(--ink)', strokeWidth: 1.5 }) : null,
        Plot.text(rows, { x: top, y: 'name', text: 'note', dx: 7, textAnchor: 'start', fill: 'var(--ink)' }),
        Plot.ruleX([0], { stroke: 'var(--faint)' }),
        Plot.tip(rows, Plot.pointerY({ x: 'share', y: 'name', title: 'title' })),
      ],
    };
  }

  const byShare = (name, share, more = {}) => ({
    name, ...share, note: percent(share.share),
    title: `${name}\n${count(share.count)} reviews, ${percent(share.share)}\n95 % interval ${percent(share.low)} to ${percent(share.high)}`, ...more,
  });

  const labels = (width) => shares(['positive', 'neutral', 'question', 'negative'].map((label) =>
    byShare(label, figures.labels[label], { fill: colours[label], note: `${percent(figures.labels[label].share)}  (${count(figures.labels[label].count)})` })), width);

  const ranked = (ranking) => (width) => {
    const firm = ranking.targets.filter((target) => !target.few);
    return shares((firm.length ? firm : ranking.targets).slice(0, 15).map((target) => {
      const negative = target.labels.negative;
      return byShare(target.name, negative, {
        fill: 'var(--bad)', note: `${percent(negative.share)} of ${count(target.mention_count)}`,
        title: `${target.name}\n${count(negative.count)} of ${count(target.mention_count)} mentions are negative\n95 % interval ${percent(negative.low)} to ${percent(negative.high)}`,
      });
    }), width);
  };

  // Means with their intervals, on both sides of zero.
  function reviewed(width) {
    const brands = figures.reviewed.brands.slice(0, 20);
    const margin = room(brands.map((brand) => brand.name), width, 0.4);
    const reach = Math.min(1, Math.max(0.2, ...brands.flatMap(({ mean }) => [Math.abs(mean.low ?? mean.score), Math.abs(mean.high ?? mean.score)])) * 1.1);
    return {
      width, marginLeft: margin, marginRight: 64, marginTop: 4, marginBottom: 38, height: brands.length * 30 + 42,
      x: { domain: [-reach, reach], label: null, ticks: width < 500 ? 4 : 8, tickFormat: (tick) => (tick === 0 ? '0' : signed(tick)) },
      y: { type: 'band', domain: brands.map((brand) => brand.name), padding: 0.3, ...names(margin) },
      marks: [
        Plot.gridX({ stroke: 'var(--line)', strokeOpacity: 1 }),
        Plot.ruleX([0], { stroke: 'var(--faint)' }),
        Plot.ruleY(brands.filter(({ mean }) => mean.low !== null), { x1: (brand) => brand.mean.low, x2: (brand) => brand.mean.high, y: 'name', stroke: 'var(--accent)', strokeWidth: 3, strokeOpacity: 0.55 }),
        Plot.dot(brands, { x: (brand) => brand.mean.score, y: 'name', r: 5, fill: 'var(--accent)' }),
        Plot.text(brands, { x: reach, y: 'name', text: (brand) => signed(brand.mean.score), dx: 12, textAnchor: 'start', fill: 'var(--ink)' }),
        Plot.tip(brands, Plot.pointerY({ x: (brand) => brand.mean.score, y: 'name', title: (brand) =>
          `${brand.name}\n${count(brand.row_count)} reviews, mean score ${signed(brand.mean.score)}` })),
      ],
    };
  }

  const dated = (series) => series.points.map((point) => ({ ...point, at: new Date(point.from) }));
  const all = figures.over_time.series.length ? dated(figures.over_time.series[0]) : [];
  const after = { day: d3.utcDay, week: d3.utcMonday, month: d3.utcMonth, quarter: d3.utcMonth.every(3), year: d3.utcYear }[figures.over_time.period];
  // One scale for all brands, or they could not be compared. Means and intervals of few reviews do not stretch it.
  const reach = (points) => {
    const firm = points.filter((point) => point.count >= 20 && point.low !== null);
    const ends = (firm.length ? firm : points).flatMap((point) => [point.low ?? point.score, point.high ?? point.score]);
    return [Math.max(-1, Math.min(0, ...ends) - 0.05), Math.min(1, Math.max(0, ...ends) + 0.05)];
  };
  const levels = { all: reach(all), brands: reach(figures.over_time.series.slice(1).flatMap((series) => series.points)) };
  const span = all.length ? [all[0].at, after.offset(all[all.length - 1].at, figures.over_time.period === 'quarter' ? 3 : 1)] : [];
  const told = (point) => `${figures.over_time.period === 'day' ? '' : `${figures.over_time.period} from `}${point.from}\nmean score ${signed(point.score)}${point.low === null ? '' : ` (${signed(point.low)} to ${signed(point.high)})`}\n${count(point.count)} reviews`;

  function curve(points, width, height, behind) {
    const band = points.filter((point) => point.low !== null);
    return {
      width, height, marginLeft: 44, marginRight: 14, marginTop: 12, marginBottom: 28,
      x: { type: 'utc', domain: span, label: null, ticks: Math.max(3, Math.floor(width / 90)), tickSize: 3 },
      y: { domain: behind ? levels.brands : levels.all, clamp: true, label: null, ticks: height < 200 ? 4 : 6, tickSize: 0, tickFormat: (tick) => (Math.abs(tick) < 1e-9 ? '0' : (tick < 0 ? '−' : '+') + +Math.abs(tick).toFixed(2)) },
      marks: [
        Plot.gridY({ stroke: 'var(--line)', strokeOpacity: 1, ticks: height < 200 ? 4 : 6 }),
        Plot.ruleY([0], { stroke: 'var(--faint)' }),
        Plot.areaY(band, { x: 'at', y1: 'low', y2: 'high', fill: 'var(--accent)', fillOpacity: 0.18 }),
        behind ? Plot.lineY(all, { x: 'at', y: 'score', stroke: 'var(--faint)', strokeWidth: 1.25, strokeDasharray: '4 3' }) : null,
        Plot.lineY(points, { x: 'at', y: 'score', stroke: 'var(--accent)', strokeWidth: 2.25, strokeLinejoin: 'round' }),
        Plot.dot(points, { x: 'at', y: 'score', r: points.length > 30 || behind ? 1.75 : 3, fill: 'var(--accent)' }),
        Plot.tip(points, Plot.pointerX({ x: 'at', y: 'score', title: told })),
      ],
    };
  }

  const counts = (width) => ({
    width, height: 84, marginLeft: 44, marginRight: 14, marginTop: 8, marginBottom: 4,
    x: { type: 'utc', domain: span, axis: null },
    y: { label: null, ticks: 2, tickSize: 0, tickFormat: '~s' },
    marks: [
      Plot.rectY(all, { x1: 'at', x2: (point) => after.offset(point.at, figures.over_time.period === 'quarter' ? 3 : 1), y: 'count', fill: 'var(--calm)', insetLeft: 0.5, insetRight: 0.5 }),
      Plot.ruleY([0], { stroke: 'var(--faint)' }),
    ],
  });

  function ratings(width) {
    const cells = figures.ratings.ratings.flatMap((rated) => ['positive', 'neutral', 'question', 'negative'].map((label) =>
      ({ rating: rated.rating, label, rows: rated.row_count, ...rated.labels[label] })));
    return {
      width, height: 5 * 52 + 34, marginLeft: 70, marginTop: 30, marginBottom: 4, marginRight: 8,
      x: { domain: ['positive', 'neutral', 'question', 'negative'], axis: 'top', label: null, tickSize: 0, padding: 0.04 },
      y: { domain: [5, 4, 3, 2, 1], label: null, tickSize: 0, tickFormat: (rating) => '★'.repeat(rating), padding: 0.06 },
      marks: [
        Plot.cell(cells, { x: 'label', y: 'rating', fill: (cell) => colours[cell.label], fillOpacity: (cell) => 0.06 + 0.5 * cell.share, rx: 4 }),
        Plot.text(cells, { x: 'label', y: 'rating', text: (cell) => (cell.rows ? percent(cell.share) : '–'), fill: 'var(--ink)', fontWeight: 600, dy: -8 }),
        Plot.text(cells, { x: 'label', y: 'rating', text: (cell) => count(cell.count), fill: 'var(--ink)', dy: 9 }),
        Plot.tip(cells, Plot.pointer({ x: 'label', y: 'rating', title: (cell) =>
          `${cell.rating} stars, text ${cell.label}\n${count(cell.count)} of ${count(cell.rows)} reviews` })),
      ],
    };
  }

  const words = (list, fill) => (width) => {
    if (!list.length) return null;
    const margin = room(list.map((word) => word.word), width, 0.35);
    const end = Math.max(...list.map((word) => Math.abs(word.difference)));
    return {
      width, marginLeft: margin, marginRight: 8, marginTop: 4, marginBottom: 30, height: list.length * 27 + 34,
      x: { domain: [0, end / Math.max(0.25, 1 - 56 / (width - margin))], label: null, ticks: 4, tickSize: 3, tickFormat: (tick) => (tick === 0 ? '0' : (list[0].difference < 0 ? '−' : '+') + +tick.toFixed(2)) },
      y: { domain: list.map((word) => word.word), padding: 0.3, ...names(margin) },
      marks: [
        Plot.gridX({ stroke: 'var(--line)', strokeOpacity: 1, ticks: 4 }),
        Plot.barX(list, { x: (word) => Math.abs(word.difference), y: 'word', fill, rx2: 3 }),
        Plot.text(list, { x: (word) => Math.abs(word.difference), y: 'word', text: (word) => signed(word.difference), dx: 6, textAnchor: 'start', fill: 'var(--ink)' }),
        Plot.ruleX([0], { stroke: 'var(--faint)' }),
        Plot.tip(list, Plot.pointerY({ x: (word) => Math.abs(word.difference), y: 'word', title: (word) =>
          `${word.word}\n${count(word.row_count)} reviews, mean ${signed(word.mean_with)}\nwithout it ${signed(word.mean_without)}` })),
      ],
    };
  };

  const lengths = (width) => shares(figures.lengths.bins.map((bin) => byShare(
    bin.to_chars === null ? `${count(bin.from_chars)} or more` : `${count(bin.from_chars)}–${count(bin.to_chars)}`, bin.share)), width, { intervals: false });
  const language = (width) => shares([
    ['Thai only', 'thai'], ['Thai with Latin words', 'thai_and_latin'], ['Latin only', 'latin'], ['Neither', 'neither'],
    ['With emoji', 'emoji'], ['With laughter (555)', 'laughter'], ['Stretched (มากกก)', 'elongation'],
  ].map(([name, key], at) => byShare(name, figures.language[key], { fill: at < 4 ? 'var(--accent)' : 'var(--ask)' })), width, { intervals: false });

  const charts = {
    labels, reviewed, ratings, lengths, language,
    aspects: ranked(figures.aspects), brands: ranked(figures.brands),
    'words-lowering': words(figures.words.lowering, 'var(--bad)'), 'words-raising': words(figures.words.raising, 'var(--good)'),
  };
  figures.over_time.series.forEach((series, at) => {
    charts[at === 0 ? 'time-all' : `time-${at}`] = (width) => curve(dated(series), width, at === 0 ? 280 : 170, at > 0);
  });

  function add(room, options, name) {
    if (!options) return;
    const svg = Plot.plot({ ...options, ariaLabel: name });
    svg.setAttribute('role', 'img');
    room.append(svg);
  }
  function draw(room) {
    const width = Math.floor(room.clientWidth);
    if (!width || room.dataset.width === String(width)) return;
    room.dataset.width = String(width);
    room.replaceChildren();
    const { chart, name } = room.dataset;
    add(room, charts[chart]?.(width), name);
    if (chart === 'time-all') add(room, counts(width), `Reviews by ${figures.over_time.period}`);
  }
  const rooms = [...document.querySelectorAll('[data-chart]')];
  rooms.forEach(draw);
  document.getElementById('undrawn').remove();
  let waiting = 0;
  addEventListener('resize', () => {
    cancelAnimationFrame(waiting);
    waiting = requestAnimationFrame(() => rooms.forEach(draw));
  });
  // On paper nothing can be opened. What is long stays closed.
  const opened = [];
  addEventListener('beforeprint', () => document.querySelectorAll('details:not([open]):not(.long)').forEach((details) => {
    details.open = true;
    opened.push(details);
  }));
  addEventListener('afterprint', () => opened.splice(0).forEach((details) => { details.open = false; }));
})();
