/**
 * Runs measurements and prints their tables: `npm run bench [-- NAME…]`. Without names, all of them, one after the
 * other. Figures of one run compare with each other; machines differ.
 */
import { spawnSync } from "node:child_process";
import { readdirSync } from "node:fs";
import { cpus, release } from "node:os";

const directory = import.meta.dirname;
const known = readdirSync(directory)
  .filter((name) => name.endsWith(".ts") && name !== "run.ts")
  .map((name) => name.slice(0, -3))
  .sort();
const asked = process.argv.slice(2);
const unknown = asked.filter((name) => !known.includes(name));
if (unknown.length > 0) {
  console.error(`bench: no measurement ${unknown.join(", ")}; there are ${known.join(", ")}`);
  process.exit(2);
}

console.log(`${cpus().length} × ${cpus()[0]?.model}, Linux ${release()}, Node ${process.version}`);
for (const name of asked.length > 0 ? asked : known) {
  console.log(`\n## ${name}\n`);
  const { status } = spawnSync(process.execPath, [`${directory}/${name}.ts`], { stdio: "inherit" });
  if (status !== 0) process.exitCode = 1;
}
