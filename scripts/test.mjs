/**
 * All checks and tests, one after the other: `npm test`.
 *
 * Every step runs, also after a failure. The closing line counts what passed, failed and was skipped; before it
 * stands why each skipped test was skipped, and what failed in the failed ones. Exit status 0 only when nothing failed.
 *
 *   node scripts/test.mjs [--no-vm]
 */
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const args = process.argv.slice(2);
const unknown = args.filter((arg) => arg !== "--no-vm");
if (unknown.length > 0) {
  console.error(`test: unknown argument ${unknown.join(" ")}\nusage: npm test [-- --no-vm]`);
  process.exit(2);
}

const total = { passed: 0, failed: 0, skipped: 0, failures: [], reasons: [] };
const scratch = mkdtempSync(join(tmpdir(), "cfsboot-test-"));

function run(command, argv, env = {}) {
  const started = Date.now();
  console.log(`\n== ${[command, ...argv].join(" ")}`);
  const { status, error } = spawnSync(command, argv, {
    stdio: ["ignore", "inherit", "inherit"],
    env: { ...process.env, ...env },
  });
  if (error) console.error(`test: ${command}: ${error.message}`);
  console.log(
    `== ${status === 0 ? "ok" : "FAILED"} after ${Math.round((Date.now() - started) / 1000)} s`,
  );
  return status === 0;
}

/** A check counts as one test. */
function check(command, argv) {
  if (run(command, argv)) total.passed++;
  else {
    total.failed++;
    total.failures.push({ test: [command, ...argv].join(" "), error: "see its output above" });
  }
}

function vitest(name, argv) {
  const file = join(scratch, `${name}.json`);
  const ok = run(
    "vitest",
    ["run", "--reporter=default", "--reporter=./scripts/summary-reporter.mjs", ...argv],
    { CFSBOOT_TEST_SUMMARY: file },
  );
  let summary = { passed: 0, failed: 0, skipped: 0, failures: [], reasons: [] };
  try {
    summary = JSON.parse(readFileSync(file, "utf8"));
  } catch {
    console.error(`test: ${name}: the test runner left no summary`);
  }
  // whatever made the runner fail is a failure, even where no test did
  if (!ok && summary.failed === 0) {
    summary.failed = 1;
    summary.failures.push({ test: name, error: "the test runner failed: see its output above" });
  }
  total.passed += summary.passed;
  total.failed += summary.failed;
  total.skipped += summary.skipped;
  total.failures.push(...summary.failures);
  total.reasons.push(...summary.reasons);
}

try {
  check("node", ["scripts/setup.mjs", "test", ...(args.includes("--no-vm") ? [] : ["vm"])]);
  check("npm", ["run", "-s", "check:types"]);
  check("npm", ["run", "-s", "check:lint"]);
  check("npm", ["run", "-s", "check:imports"]);
  check("npm", ["run", "-s", "build"]);
  vitest("unit", []);
  if (!args.includes("--no-vm")) vitest("vm", ["--config", "vm-tests/vitest.config.ts"]);
} finally {
  rmSync(scratch, { recursive: true, force: true });
}

console.log("");
for (const { test, reason } of total.reasons) console.log(`skipped: ${test}: ${reason}`);
for (const { test, error } of total.failures)
  console.log(`failed: ${test}: ${error.replaceAll("\n", "\n  ")}`);
console.log(`${total.passed} passed, ${total.failed} failed, ${total.skipped} skipped`);
process.exitCode = total.failed === 0 ? 0 : 1;
