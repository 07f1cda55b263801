// What report.mjs and batch.mjs share: Chromium, the page of the command line in it, and the checks that hold for every page.

import assert from 'node:assert/strict';
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

export const views = {
  light: { viewport: { width: 1100, height: 900 }, colorScheme: 'light' },
  dark: { viewport: { width: 1100, height: 900 }, colorScheme: 'dark' },
  telephone: { viewport: { width: 390, height: 844 }, deviceScaleFactor: 2, isMobile: true },
};

// The path of a file beside the page.
export const beside = (name) => join(folder, name);

export const width = (page) => page.evaluate(() => document.documentElement.scrollWidth);

export async function open(options, prepare = () => {}) {
  const page = await browser.newPage(options);
  prepare(page);
  await page.goto(`file://${file}`);
  return page;
}

// Opens the page in each view: nothing is fetched or logged, and it is not too wide. Takes a screenshot, then does `more`.
export async function look(views, screenshot, more = () => {}) {
  for (const [name, options] of Object.entries(views)) {
    const requests = [];
    const log = [];
    const page = await open(options, (page) => {
      page.on('request', (request) => requests.push(request.url()));
      page.on('console', (message) => log.push(message.text()));
      page.on('pageerror', (error) => log.push(String(error)));
    });
    assert.equal(requests.length, 1, `${name}: it fetches ${requests}`);
    assert.deepEqual(log, [], name);
    const wide = await width(page);
    assert.ok(wide <= options.viewport.width, `${name}: ${wide} pixels wide`);
    await page.screenshot({ path: beside(screenshot(name)), fullPage: true });
    await more(page, name);
    await page.close();
  }
}

// Every link leads to its target by keyboard.
export async function follow(page, links, name) {
  for (let at = 0; at < (await links.count()); at += 1) {
    await links.nth(at).focus();
    await page.keyboard.press('Enter');
    const shown = await page.evaluate(() => {
      const { top, bottom } = document.querySelector(':target').getBoundingClientRect();
      return top >= 0 && bottom <= innerHeight;
    });
    assert.ok(shown, `${name} ${at} leads nowhere by keyboard`);
  }
}

// Contrast by WCAG 2.2, light and dark: text by 1.4.3, what a chart draws by 1.4.11.
export async function contrast(page) {
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
}

export async function finish(files) {
  await browser.close();
  console.log(`${file}: ok; ${files} are in ${folder}`);
}
