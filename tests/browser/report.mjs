// Opens the page of `arom chat --html` in headless Chromium: light and dark, on a telephone, printed, by keyboard.
//
//     make check-page        (needs npm, and Chromium at /usr/bin/chromium or in CHROMIUM)
//
// Writes screenshots, the printed page and the accessibility tree beside the page, and fails if anything is fetched, logged,
// too wide, without a name, or leads nowhere.

import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { beside, contrast, finish, follow, look, open, views } from './page.mjs';

await look(views, (name) => `${name}.png`);

const page = await open({ ...views.light, reducedMotion: 'reduce' });
writeFileSync(beside('accessibility.yaml'), await page.locator('body').ariaSnapshot());
const turns = page.getByRole('link', { name: /^Turning point of the/ });
assert.ok((await turns.count()) > 0, 'the turning points are links with names');
await follow(page, turns, 'turning point');
const nameless = await page.evaluate(() =>
  [...document.querySelectorAll('a, svg:not([aria-hidden])')].filter((node) => !(node.textContent.trim() || node.ariaLabel)).length);
assert.equal(nameless, 0, 'everything has a name');
await contrast(page);
await page.emulateMedia({ colorScheme: 'light', media: 'print' });
await page.pdf({ path: beside('printed.pdf'), format: 'A4' });
await finish('screenshots, printed.pdf and accessibility.yaml');
