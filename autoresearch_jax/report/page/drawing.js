// Elements, numbers, tooltips, scales and axes. All text goes through textContent, never through markup.

const SVG = 'http://www.w3.org/2000/svg';
const $ = (id) => document.getElementById(id);
const live = $('live')?.dataset ?? null;  // where a dashboard's data is; null for a file

function element(tag, attributes = {}, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

function shape(tag, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, tag), attributes, children);
}

function filled(made, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith('on')) made.addEventListener(name.slice(2), value);
    else if (value !== null && value !== undefined) made.setAttribute(name, value);
  }
  made.append(...children.filter((child) => child !== null));
  return made;
}

const number = (value, digits = 4) =>
  value === null || value === undefined ? '' : Number(value.toPrecision(digits)).toString();
const signed = (value) => (value > 0 ? '+' : value < 0 ? '\u2212' : '') + number(Math.abs(value), 3);
const withError = (value, error) =>
  value === null ? '' : signed(value) + (error === null ? '' : ` \u00b1 ${number(error, 2)}`);
const percent = (value) => `${Math.round(100 * value)} %`;
const plural = (count, word) => `${count} ${word}${count === 1 ? '' : 's'}`;
const clock = (time, exact) => new Date(1000 * time).toLocaleTimeString('en-GB',
  { hour: '2-digit', minute: '2-digit', ...(exact ? { second: '2-digit' } : {}) });

function duration(seconds) {
  if (seconds < 90) return `${number(seconds, 3)} s`;
  const minutes = Math.round(seconds / 60);
  return minutes < 90 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

function ago(time) {
  const seconds = Math.max(0, Date.now() / 1000 - time);
  if (seconds < 60) return 'just now';
  return seconds < 172800 ? `${duration(seconds)} ago` : new Date(1000 * time).toLocaleDateString('en-GB');
}

// --- tooltip -------------------------------------------------------------------------------------

function tip(text, event) {
  const box = $('tip');
  box.textContent = text;
  box.style.setProperty('visibility', 'visible');
  const target = event.target.getBoundingClientRect();
  const x = event.clientX || target.right, y = event.clientY || target.top;
  const left = Math.min(x + 14, innerWidth - box.offsetWidth - 8);
  const top = y + 18 + box.offsetHeight > innerHeight ? y - box.offsetHeight - 12 : y + 18;
  box.style.setProperty('left', `${Math.max(8, left)}px`);
  box.style.setProperty('top', `${Math.max(8, top)}px`);
}

const hideTip = () => $('tip').style.setProperty('visibility', 'hidden');

// Makes the marks in a container tell about their trial and open it. One of them takes part in the
// order of the Tab key, and the arrow keys go on from there.
function listen(container, tells) {
  const markOf = (event) => event.target.closest?.('[data-trial]');
  const onTrial = (action) => (event) => {
    const trial = byId.get(Number(markOf(event)?.dataset.trial ?? -1));
    if (trial) action(trial, event);
  };
  container.addEventListener('click', onTrial((trial) => open(trial.id)));
  container.addEventListener('keydown', onTrial((trial, event) => {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (event.key === 'Enter' || event.key === ' ') { event.preventDefault(); open(trial.id); }
    if (!step) return;
    event.preventDefault();
    const marks = [...container.querySelectorAll('[data-trial]')], next = marks[marks.indexOf(markOf(event)) + step];
    if (!next) return;
    markOf(event).setAttribute('tabindex', -1);
    next.setAttribute('tabindex', 0);
    next.focus();
  }));
  if (!tells) return;
  for (const name of ['pointerover', 'focusin']) container.addEventListener(name, onTrial((trial, event) => tip(describe(trial), event)));
  for (const name of ['pointerout', 'focusout']) container.addEventListener(name, hideTip);
}

// Attributes of a mark that stands for a trial.
const mark = (trial) => ({ tabindex: -1, role: 'button', 'data-trial': trial.id,
  'aria-label': `Trial ${trial.id}, ${trial.description}` });

// Shows a drawing in place of the former one, and keeps the focus on the same mark.
function show(id, drawing) {
  const box = $(id), focused = box.contains(document.activeElement) ? document.activeElement.dataset.trial : null;
  box.replaceChildren(drawing);
  const marks = [...box.querySelectorAll('[data-trial]')];
  const first = marks.find((found) => found.dataset.trial === focused) ?? marks.at(-1);
  first?.setAttribute('tabindex', 0);
  if (focused !== null && focused !== undefined) first?.focus();
}

const hint = (text) => element('p', { class: 'hint' }, text);

// --- scales and axes -----------------------------------------------------------------------------

function ticks(low, high, count) {
  const raw = (high - low) / count || 1, power = 10 ** Math.floor(Math.log10(raw));
  const step = power * [1, 2, 5, 10].find((factor) => factor * power >= raw * (1 - 1e-9));
  const found = [];
  for (let value = Math.ceil(low / step) * step; value <= high + step / 1e6; value += step) found.push(Math.round(value / step) * step);
  return found;
}

// Ticks at full minutes, hours or days.
function timeTicks(low, high, count) {
  const steps = [1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 10800, 21600, 43200, 86400];
  const step = steps.find((seconds) => (high - low) / seconds <= count) ?? 86400 * Math.ceil((high - low) / count / 86400);
  const shift = 60 * new Date(1000 * low).getTimezoneOffset(), found = [];
  for (let time = Math.ceil((low - shift) / step) * step + shift; time <= high; time += step) found.push(time);
  return found;
}

const scale = (low, high, from, to) => (value) => from + ((value - low) / (high - low || 1)) * (to - from);

function frame(width, height, label) {
  return shape('svg', { viewBox: `0 0 ${width} ${height}`, role: 'group', 'aria-label': label });
}

function axes(svg, box, x, y, xs, ys, xName, yName, xFormat = (value) => number(value, 4), yFormat = xFormat) {
  for (const value of ys) {
    svg.append(
      shape('line', { class: 'grid', x1: box.left, x2: box.right, y1: y(value), y2: y(value) }),
      shape('text', { x: box.left - 8, y: y(value) + 4, 'text-anchor': 'end' }, yFormat(value)));
  }
  for (const value of xs) {
    svg.append(shape('text', { x: x(value), y: box.bottom + 18, 'text-anchor': 'middle' }, xFormat(value)));
  }
  svg.append(
    shape('line', { class: 'axis', x1: box.left, x2: box.right, y1: box.bottom, y2: box.bottom }),
    shape('text', { x: box.right, y: box.bottom + 36, 'text-anchor': 'end' }, xName),
    shape('text', { class: 'label', x: box.left - 8, y: box.top - 10 }, yName));
}

const chartWidth = (id) => Math.max(300, Math.round($(id).clientWidth));
