/**
 * Installs the Debian packages that are missing: `npm run setup [-- build|test|vm …]`, by default all of them.
 * `test` and `vm` include `build`.
 */
import { ensurePackages, PURPOSES } from "./packages.mjs";

const purposes = process.argv.length > 2 ? process.argv.slice(2) : Object.keys(PURPOSES);
const unknown = purposes.filter((purpose) => !(purpose in PURPOSES));
if (unknown.length > 0) {
  console.error(`setup: unknown purpose ${unknown.join(" ")}`);
  console.error(`usage: npm run setup [-- ${Object.keys(PURPOSES).join("|")} ...]`);
  process.exit(2);
}
try {
  ensurePackages([...new Set(["build", ...purposes])], (line) => console.log(`setup: ${line}`));
  console.log("setup: all packages are there");
} catch (error) {
  console.error(`setup: error: ${error.message}`);
  process.exitCode = 1;
}
