// Opens the page of `arom chat --html` in headless Chromium: light and dark, on a telephone, printed, by keyboard.
//
//     make check-page        (needs npm, and Chromium at /usr/bin/chromium or in CHROMIUM)
//
// Writes screenshots, the printed page and the accessibility tree beside the page, and fails if anything is fetched, logged,
// too wide, without a name, or leads nowhere.

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

const views = {
  light: { viewport: { width: 1100, height: 900 }, colorScheme: 'light' },
  dark: { viewport: { width: 1100, height: 900 }, colorScheme: 'dark' },
  telephone: { viewport: { width: 390, height: 844 }, deviceScaleFactor: 2, isMobile: true },
};
for (const [name, options] of Object.entries(views)) {
  const page = await browser.newPage(options);
  const seen = { requests: [], log: [] };
  page.on('request', (request) => seen.requests.push(request.url()));
  page.on('console', (message) => seen.log.push(message.text()));
  await page.goto(`file://${file}`);
  assert.equal(seen.requests.length, 1, `${name}: it fetches ${seen.requests}`);
  assert.deepEqual(seen.log, [], name);
  const width = await page.evaluate(() => document.documentElement.scrollWidth);
  assert.ok(width <= options.viewport.width, `${name}: ${width} pixels wide`);
  await page.screenshot({ path: join(folder, `${name}.png`), fullPage: true });
  await page.close();
}

const page = await browser.newPage({ ...views.light, reducedMotion: 'reduce' });
await page.goto(`file://${file}`);
writeFileSync(join(folder, 'accessibility.yaml'), await page.locator('body').ariaSnapshot());
const turns = page.getByRole('link', { name: /^Turning point of the/ });
assert.ok((await turns.count()) > 0, 'the turning points are links with names');
for (let at = 0; at < (await turns.count()); at += 1) {
  await turns.nth(at).focus();
  await page.keyboard.press('Enter');
  const shown = await page.evaluate(() => {
    const { top, bottom } = document.querySelector(':target').getBoundingClientRect();
    return top >= 0 && bottom <= innerHeight;
  });
  assert.ok(shown, `turning point ${at} leads to its message by keyboard`);
}
const nameless = await page.evaluate(() =>
  [...document.querySelectorAll('a, svg:not([aria-hidden])')].filter((node) => !(node.textContent.trim() || node.ariaLabel)).length);
assert.equal(nameless, 0, 'everything has a name');
// Contrast of text by WCAG 2.2, 1.4.3.
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
    const ground = (node) => {
      const colour = getComputedStyle(node).backgroundColor;
      return channels(colour)[3] === 0 && node.parentElement ? ground(node.parentElement) : colour;
    };
    const text = [...document.querySelectorAll('body *')].filter((node) =>
      !node.closest('svg') && [...node.childNodes].some((child) => child.nodeType === 3 && child.textContent.trim()));
    return text.map((node) => {
      const [one, other] = [luminance(getComputedStyle(node).color), luminance(ground(node))].sort((a, b) => b - a);
      return [(one + 0.05) / (other + 0.05), node.textContent.trim().slice(0, 30)];
    }).filter(([ratio]) => ratio < 4.5);
  });
  assert.deepEqual(low, [], `${colorScheme}: text of low contrast`);
}
await page.emulateMedia({ colorScheme: 'light', media: 'print' });
await page.pdf({ path: join(folder, 'printed.pdf'), format: 'A4' });
await browser.close();
console.log(`${file}: ok; screenshots, printed.pdf and accessibility.yaml are in ${folder}`);
