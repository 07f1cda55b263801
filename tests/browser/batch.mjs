// Opens the page of `arom batch` in headless Chromium: light and dark, on a telephone, printed, by keyboard, without JavaScript.
//
//     make check-page        (needs npm, and Chromium at /usr/bin/chromium or in CHROMIUM)
//
// Writes screenshots, the printed page and the accessibility tree beside the page, and fails if anything is fetched, logged,
// too wide, not drawn, of low contrast, without a name, or leads nowhere.

import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { createRequire } from 'node:module';

const [file, packages] = process.argv.slice(2).map((path) => resolve(path));
const { chromium } = createRequire(join(packages, 'package.json'))('playwright-core');
const folder = dirname(file);
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
    '--disable-component-update', '--disable-sync'],
});

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

const views = {
  light: { viewport: { width: 1100, height: 900 }, colorScheme: 'light' },
  dark: { viewport: { width: 1100, height: 900 }, colorScheme: 'dark' },
  telephone: { viewport: { width: 390, height: 844 }, deviceScaleFactor: 2, isMobile: true },
  narrow: { viewport: { width: 320, height: 640 }, isMobile: true },
};
for (const [name, options] of Object.entries(views)) {
  const page = await browser.newPage(options);
  const seen = { requests: [], log: [] };
  page.on('request', (request) => seen.requests.push(request.url()));
  page.on('console', (message) => seen.log.push(message.text()));
  page.on('pageerror', (error) => seen.log.push(String(error)));
  await page.goto(`file://${file}`);
  assert.equal(seen.requests.length, 1, `${name}: it fetches ${seen.requests}`);
  assert.deepEqual(seen.log, [], name);
  const width = await page.evaluate(() => document.documentElement.scrollWidth);
  assert.ok(width <= options.viewport.width, `${name}: ${width} pixels wide`);
  assert.deepEqual(await page.evaluate(undrawn), [], `${name}: not drawn`);
  assert.deepEqual(await page.evaluate(overflowing), [], `${name}: text beyond its chart`);
  await page.screenshot({ path: join(folder, `batch-${name}.png`), fullPage: true });
  if (name === 'light') {
    const chart = page.locator('[data-chart="time-all"] svg').first();
    await chart.scrollIntoViewIfNeeded();
    const { width: wide, height } = await chart.boundingBox();
    await chart.hover({ position: { x: wide * 0.6, y: height / 2 } });
    assert.match(await chart.locator('[aria-label=tip]').textContent(), /mean score/, 'the chart tells of a point');
    await page.mouse.move(0, 0);
    await page.setViewportSize({ width: 500, height: 800 });
    await page.waitForFunction(() => [...document.querySelectorAll('.chart > svg')].every((svg) => svg.clientWidth <= 500));
    assert.ok(await page.evaluate(() => document.documentElement.scrollWidth) <= 500, 'it follows the window');
  }
  await page.close();
}

const page = await browser.newPage({ ...views.light, reducedMotion: 'reduce' });
await page.goto(`file://${file}`);
writeFileSync(join(folder, 'batch-accessibility.yaml'), await page.locator('body').ariaSnapshot());

// By keyboard: the skip link first, then the contents, and every table opens.
await page.keyboard.press('Tab');
assert.equal(await page.evaluate(() => document.activeElement.className), 'skip', 'the skip link comes first');
await page.keyboard.press('Enter');
assert.equal(await page.evaluate(() => document.activeElement.id), 'main', 'it skips to the figures');
const contents = page.getByRole('navigation', { name: 'Contents' }).getByRole('link');
for (let at = 0; at < (await contents.count()); at += 1) {
  await contents.nth(at).focus();
  await page.keyboard.press('Enter');
  const shown = await page.evaluate(() => {
    const { top, bottom } = document.querySelector(':target').getBoundingClientRect();
    return top >= 0 && bottom <= innerHeight;
  });
  assert.ok(shown, `entry ${at} of the contents leads to its heading`);
}
const summaries = page.locator('figure summary');
for (let at = 0; at < (await summaries.count()); at += 1) {
  await summaries.nth(at).focus();
  const outline = await summaries.nth(at).evaluate((node) => getComputedStyle(node).outlineStyle);
  assert.equal(outline, 'solid', 'focus is seen');
  await page.keyboard.press('Enter');
}
assert.equal(await page.locator('figure details:not([open])').count(), 0, 'every table opens by keyboard');
assert.ok(await page.evaluate(() => document.documentElement.scrollWidth) <= 1100, 'open tables fit');

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

// Contrast by WCAG 2.2: text by 1.4.3, what is drawn by 1.4.11.
for (const colorScheme of ['light', 'dark']) {
  await page.emulateMedia({ colorScheme });
  const low = await page.evaluate(() => {
    const channels = (colour) => colour.match(/[\d.]+/g).map(Number);
    const luminance = (colour) => {
      const [r, g, b] = channels(colour).map((value) => {
        const share = value / 255;
        return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
      });
      return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const ratio = (one, other) => {
      const [dark, light] = [luminance(one), luminance(other)].sort((a, b) => a - b);
      return (light + 0.05) / (dark + 0.05);
    };
    const ground = (node) => {
      const colour = getComputedStyle(node).backgroundColor;
      return channels(colour)[3] === 0 && node.parentElement ? ground(node.parentElement) : colour;
    };
    const said = (node) => [...node.childNodes].some((child) => child.nodeType === 3 && child.textContent.trim());
    const found = [];
    document.querySelectorAll('body *').forEach((node) => {
      const style = getComputedStyle(node);
      const room = node.closest('.chart');
      if (said(node) && !['SCRIPT', 'NOSCRIPT'].includes(node.tagName)) {
        const seen = ratio(node.closest('svg') ? style.fill : style.color, ground(room ?? node));
        if (seen < 4.5) found.push([seen, node.textContent.trim().slice(0, 30)]);
      } else if (room && /^(rect|circle)$/.test(node.tagName) && !node.closest('[aria-label=cell]') && style.fill !== 'none') {
        const seen = ratio(style.fill, ground(room));
        if (seen < 3) found.push([seen, `${room.dataset.name}: ${style.fill}`]);
      }
    });
    return found;
  });
  assert.deepEqual(low, [], `${colorScheme}: low contrast`);
}
await page.close();

const paper = await browser.newPage(views.dark);
await paper.goto(`file://${file}`);
await paper.pdf({ path: join(folder, 'batch-printed.pdf'), format: 'A4', margin: { top: '14mm', bottom: '14mm', left: '14mm', right: '14mm' }, printBackground: true });
await paper.close();

const plain = await browser.newContext({ javaScriptEnabled: false });
const bare = await plain.newPage();
await bare.goto(`file://${file}`);
assert.ok(await bare.getByText('The charts need JavaScript.').isVisible(), 'it says what is missing without JavaScript');
assert.equal(await bare.locator('figure table').count(), await bare.locator('[data-chart]').count(), 'tables are there without JavaScript');
await browser.close();
console.log(`${file}: ok; batch-*.png, batch-printed.pdf and batch-accessibility.yaml are in ${folder}`);
