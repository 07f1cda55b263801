// Opens the page of `arom batch` in headless Chromium: light and dark, on a telephone, printed, by keyboard, without JavaScript.
//
//     make check-page        (needs npm, and Chromium at /usr/bin/chromium or in CHROMIUM)
//
// Writes screenshots, the printed page and the accessibility tree beside the page, and fails if anything is fetched, logged,
// too wide, not drawn, of low contrast, without a name, or leads nowhere.

import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { beside, contrast, finish, follow, look, open, views, width } from './page.mjs';

// Every chart has its drawing; that over time has its bars of counts besides.
const undrawn = () => [...document.querySelectorAll('[data-chart]')].filter((room) =>
  room.querySelectorAll('svg').length !== (room.dataset.chart === 'time-all' ? 2 : 1)).map((room) => room.dataset.chart);
const overflowing = () => [...document.querySelectorAll('.chart > svg')].flatMap((svg) => {
  const edge = svg.getBoundingClientRect();
  return [...svg.querySelectorAll('text')].filter((text) => {
    const box = text.getBoundingClientRect();
    return box.width > 0 && (box.right > edge.right + 1.5 || box.left < edge.left - 1.5);
  }).map((text) => `${svg.ariaLabel}: ${text.textContent}`);
});

const narrow = { viewport: { width: 320, height: 640 }, isMobile: true };
await look({ ...views, narrow }, (name) => `batch-${name}.png`, async (page, name) => {
  assert.deepEqual(await page.evaluate(undrawn), [], `${name}: not drawn`);
  assert.deepEqual(await page.evaluate(overflowing), [], `${name}: text beyond its chart`);
  if (name !== 'light') return;
  const chart = page.locator('[data-chart="time-all"] svg').first();
  await chart.scrollIntoViewIfNeeded();
  const { width: wide, height } = await chart.boundingBox();
  await chart.hover({ position: { x: wide * 0.6, y: height / 2 } });
  assert.match(await chart.locator('[aria-label=tip]').textContent(), /mean score/, 'the chart tells of a point');
  await page.mouse.move(0, 0);
  await page.setViewportSize({ width: 500, height: 800 });
  await page.waitForFunction(() => [...document.querySelectorAll('.chart > svg')].every((svg) => svg.clientWidth <= 500));
  assert.ok((await width(page)) <= 500, 'it follows the window');
});

const page = await open({ ...views.light, reducedMotion: 'reduce' });
writeFileSync(beside('batch-accessibility.yaml'), await page.locator('body').ariaSnapshot());

// By keyboard: the skip link first, then the contents, and every table opens.
await page.keyboard.press('Tab');
assert.equal(await page.evaluate(() => document.activeElement.className), 'skip', 'the skip link comes first');
await page.keyboard.press('Enter');
assert.equal(await page.evaluate(() => document.activeElement.id), 'main', 'it skips to the figures');
await follow(page, page.getByRole('navigation', { name: 'Contents' }).getByRole('link'), 'entry of the contents');
const summaries = page.locator('figure summary');
for (let at = 0; at < (await summaries.count()); at += 1) {
  await summaries.nth(at).focus();
  const outline = await summaries.nth(at).evaluate((node) => getComputedStyle(node).outlineStyle);
  assert.equal(outline, 'solid', 'focus is seen');
  await page.keyboard.press('Enter');
}
assert.equal(await page.locator('figure details:not([open])').count(), 0, 'every table opens by keyboard');
assert.ok((await width(page)) <= 1100, 'open tables fit');

// Names and order.
const faults = await page.evaluate(() => {
  const found = [];
  const named = (node) => node.getAttribute('aria-label') || document.getElementById(node.getAttribute('aria-labelledby'))?.textContent.trim();
  document.querySelectorAll('figure, .chart > svg, section, nav, [role=region]').forEach((node) => {
    if (!named(node)) found.push(`nameless ${node.tagName}`);
  });
  document.querySelectorAll('a, summary').forEach((node) => { if (!node.textContent.trim()) found.push('an empty link'); });
  document.querySelectorAll('figure').forEach((figure) => {
    if (!figure.querySelector('table tbody tr') && figure.querySelector('svg')) found.push(`no table: ${figure.textContent}`);
  });
  let level = 0;
  document.querySelectorAll('h1, h2, h3, h4').forEach((heading) => {
    const next = Number(heading.tagName[1]);
    if (next > level + 1) found.push(`${heading.textContent} skips a level`);
    level = next;
  });
  const ids = [...document.querySelectorAll('[id]')].map((node) => node.id);
  if (new Set(ids).size !== ids.length) found.push('an id twice');
  return found;
});
assert.deepEqual(faults, []);

await contrast(page);
await page.close();

const paper = await open(views.dark);
await paper.pdf({ path: beside('batch-printed.pdf'), format: 'A4', margin: { top: '14mm', bottom: '14mm', left: '14mm', right: '14mm' }, printBackground: true });
await paper.close();

const bare = await open({ javaScriptEnabled: false });
assert.ok(await bare.getByText('The charts need JavaScript.').isVisible(), 'it says what is missing without JavaScript');
assert.equal(await bare.locator('figure table').count(), await bare.locator('[data-chart]').count(), 'tables are there without JavaScript');
await finish('batch-*.png, batch-printed.pdf and batch-accessibility.yaml');
